"""Your own recordings: a folder of WAV files whose names hold their labels, or that a manifest lists.

The pattern {label}_{speaker}_{take}.wav reads "yes_anna_3.wav"; {label}/{take}.wav reads folders of a label
each. A manifest is a CSV with columns file, label and, where splits are by speaker, speaker. A part of a name
holds none of the characters that end parts in the pattern, so that a name is read in one way alone.
Features are log-mel energies, cached by the bytes of the files and by their settings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from gatescope.data.answers import Answers, own_file, shortened
from gatescope.data.audio import LogMel, fbank, read_wav
from gatescope.data.cache import cached
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.ragged import Ragged
from gatescope.data.rows import Problems, Table
from gatescope.data.series_file import series_splits

FIELDS = ("label", "speaker", "take")


class Recording(NamedTuple):
    """A file and what is known of it; `where` is its place in the folder or the manifest."""

    path: Path
    label: str
    speaker: str
    where: str


class AudioFolder(SequenceData):
    """Classification of recordings: inputs (B, T, mels), T windows of 25 ms every 10 ms.

    Args:
        path: of the folder.
        pattern: of the files' names below it, with {label}, and {speaker} and {take} if there are such.
        manifest: path of a CSV with columns file (below `path`), label and speaker; None: the pattern counts.
        split_by: what no two splits share: "example", or "speaker".
        mels: mel bands.
        rate: in Hz, to which all sounds are brought; None: that of the files, which must agree.
        validation, test: shares of the recordings, or of the speakers.
        standardise: each band to mean 0 and standard deviation 1 over the windows of train.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data, on tables, folders and W&B; None: that of the file or folder.
    """

    def __init__(
        self,
        path: str,
        pattern: str = "{label}_{speaker}_{take}.wav",
        manifest: str | None = None,
        split_by: Literal["example", "speaker"] = "example",
        mels: Annotated[int, Field(ge=4, le=128)] = 40,
        rate: Annotated[int, Field(ge=4000)] | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        standardise: bool = True,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name = name
        self.path, self.pattern = own_file(path), pattern
        self.manifest = None if manifest is None else own_file(manifest)
        self.split_by, self.mels, self.rate, self.standardise = split_by, mels, rate, standardise
        self.validation, self.test = validation, test

    def build(self) -> Splits:
        fbank()  # told before anything is read
        if not self.path.is_dir():
            raise DataError(f"{self.path}: there is no such folder")
        found = self._listed() if self.manifest else self._named()
        answers = Answers({"train": self.manifest or self.path}, "classification", "label")
        problems = Problems(self.manifest or self.path)
        for recording in found:
            answers.add("train", recording.label, recording.where, problems)
            if self.split_by == "speaker" and not recording.speaker.strip():
                problems.add(f"{recording.where}, column speaker", "missing, and splits are by speaker")
        problems.check()
        features, digest = self._features(found)
        targets, labels = answers.targets()
        speakers = np.array([recording.speaker for recording in found])
        groups = speakers if self.split_by == "speaker" else None
        rows = answers.rows(self.validation, self.test, self.seed, groups)
        notes = {
            "source": self.path.name,
            "sha256": digest,
            "speakers": len(set(speakers.tolist()) - {""}),
            "split_by": self.split_by,
        }
        return series_splits(features, targets, labels, rows, self.standardise, notes)

    def _named(self) -> list[Recording]:
        expression, problems, found = pattern_of(self.pattern), Problems(self.path), []
        if self.split_by == "speaker" and "{speaker}" not in self.pattern:
            raise DataError(f"data.pattern: {self.pattern} holds no {{speaker}}, and splits are by speaker")
        files = sorted(p for p in self.path.rglob("*") if p.is_file() and p.suffix.lower() == ".wav")
        for file in files:
            name = file.relative_to(self.path).as_posix()
            match = expression.fullmatch(name)
            if match is None:
                problems.add(name, f"its name is not as the pattern {self.pattern} has it")
            else:
                parts = match.groupdict()
                found.append(Recording(file, parts["label"], parts.get("speaker", ""), name))
        if not files:
            problems.add("", "there is no WAV file in this folder")
        problems.check()
        return found

    def _listed(self) -> list[Recording]:
        assert self.manifest is not None
        by_speaker = self.split_by == "speaker"
        columns = ("file", "label", *["speaker"] * by_speaker)
        problems, found = Problems(self.manifest), []
        for row in Table(self.manifest, columns).rows(problems):
            name, label, speaker = [*row.values, ""][:3]
            if (self.path / str(name)).is_file():
                found.append(Recording(self.path / name, str(label), str(speaker), row.where))
            else:
                problems.add(f"{row.where}, column file", f"there is no {shortened(name)} in {self.path}")
        problems.check()
        return found

    def _features(self, recordings: Sequence[Recording]) -> tuple[Ragged, str]:
        """Of all recordings, from the cache where it holds them; and a digest of their bytes."""
        digest = hashlib.sha256()
        for recording in recordings:
            with recording.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        settings = {"mels": self.mels, "rate": self.rate}
        key = digest.hexdigest()
        arrays = cached("audio_folder", key, settings, lambda: self._computed(recordings))
        return Ragged.of(torch.from_numpy(arrays["flat"]), arrays["lengths"]), key[:16]

    def _computed(self, recordings: Sequence[Recording]) -> dict[str, np.ndarray]:
        """
        Raises:
            DataError: files that are no sound, too short, or of another rate than the first.
        """
        problems, found, rate = Problems(self.path), [], self.rate
        for recording in recordings:
            name = recording.path.relative_to(self.path).as_posix()
            try:
                with recording.path.open("rb") as file:
                    sound = read_wav(file)
                rate = rate or sound.rate
                if self.rate is None and sound.rate != rate:
                    hint = f"data.rate={rate} resamples"
                    problems.add(name, f"{sound.rate} Hz, and the first file has {rate} Hz: {hint}")
                else:
                    found.append(LogMel(self.mels, rate)(sound))
            except ValueError as error:
                problems.add(name, str(error))
        problems.check()
        return {"flat": np.concatenate(found), "lengths": np.array([len(x) for x in found])}


def pattern_of(pattern: str) -> re.Pattern[str]:
    """The expression of a pattern with {label} and, once each at most, {speaker} and {take}.

    Raises:
        DataError: another field, or none called label.
    """
    parts = re.split(r"\{(\w*)\}", pattern)
    fields = parts[1::2]
    if "label" not in fields or set(fields) - set(FIELDS) or len(set(fields)) != len(fields):
        raise DataError(
            f"data.pattern: {pattern} is to hold {{label}}, and may hold {{speaker}} and {{take}}, once each"
        )
    stops = re.escape("".join(sorted({text[:1] for text in parts[2::2]} | {"/"})))
    expression = ""
    for i, part in enumerate(parts):
        if i % 2:
            expression += rf"(?P<{part}>[^{stops}]+)"
        else:
            expression += re.escape(part)
    return re.compile(expression, re.IGNORECASE)
