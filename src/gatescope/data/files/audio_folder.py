"""The user's recordings: a folder of WAV files with labels in their names or in a manifest.

The pattern {label}_{speaker}_{take}.wav matches "yes_anna_3.wav"; {label}/{take}.wav matches a folder per
label. A manifest is a CSV with columns file, label and, if splits are by speaker, speaker. A field of a name
contains none of the characters that follow fields in the pattern, so that a name matches in one way only.
Features are log-mel energies, cached by the content of the files and the settings.
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

from gatescope.data.cache import cached
from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, Folds
from gatescope.data.encoding.audio import LogMel, read_wav, require_fbank
from gatescope.data.encoding.series import series_splits
from gatescope.data.errors import DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.labels import Labels, shorten
from gatescope.data.files.table_reader import Table
from gatescope.data.ragged import Ragged

FIELDS = ("label", "speaker", "take")


class Recording(NamedTuple):
    """A file with its label; `where` is its place in the folder or the manifest."""

    path: Path
    label: str
    speaker: str
    where: str


class AudioFolder(SequenceData):
    """Classification of recordings by log-mel features.

    Shape:
        inputs (B, T, mels): windows of 25 ms every 10 ms. targets (B,).

    Args:
        path: of the folder.
        pattern: of the names of the files below it, with {label}, and optionally {speaker} and {take}.
        manifest: path of a CSV with columns file (relative to `path`), label, speaker; None uses `pattern`.
        split_by: what is in one split only: each example, or each speaker.
        mels: number of mel bands.
        rate: in Hz, to which all sounds are resampled; None keeps that of the files, which must agree.
        validation: share of the recordings, or of the speakers.
        test: share of the recordings, or of the speakers.
        folds, fold: as in `Division`; the groups are the speakers, with split_by=speaker.
        standardise: whether each band is standardised over the windows of train.
        subtract_mean: whether the mean spectrum of a recording is subtracted from it, which removes much of
            what differs between voices, microphones and rooms; None where splits are by speaker.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data in tables, folders and W&B; None for the name of the folder.
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
        folds: Folds = None,
        fold: Fold = None,
        subtract_mean: bool | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name = name
        self.path, self.pattern = Path(path).expanduser(), pattern
        self.manifest = None if manifest is None else Path(manifest).expanduser()
        self.split_by, self.mels, self.rate, self.standardise = split_by, mels, rate, standardise
        self.subtract_mean = split_by == "speaker" if subtract_mean is None else subtract_mean
        self.division = Division(validation, test, seed, folds, fold)

    def build(self) -> Splits:
        """Find the recordings, compute their features and divide them into splits."""
        require_fbank()  # before any file is read
        if not self.path.is_dir():
            raise DataError(f"{self.path}: no such folder")
        recordings = self._read_manifest() if self.manifest else self._match_names()
        labels = self._labels(recordings)
        features, digest = self._features(recordings)
        targets, names = labels.targets()
        speakers, speaker_of = np.unique([one.speaker for one in recordings], return_inverse=True)
        groups = speaker_of if self.split_by == "speaker" else None
        rows = labels.split(self.division, groups)
        notes = {
            "source": self.path.name,
            "sha256": digest,
            "speakers": len(set(speakers.tolist()) - {""}),
            "split_by": self.split_by,
        }
        notes |= self.division.notes(groups, speakers.tolist())
        if self.subtract_mean:
            notes["subtract_mean"] = True
            for one in features:
                one -= one.mean(dim=0)  # a view of the rows of the recording
        return series_splits(features, targets, names, rows, self.standardise, notes)

    def _labels(self, recordings: Sequence[Recording]) -> Labels:
        labels = Labels({"train": self.manifest or self.path}, "classification", "label")
        problems = Problems(self.manifest or self.path)
        for recording in recordings:
            labels.add("train", recording.label, recording.where, problems)
            if self.split_by == "speaker" and not recording.speaker.strip():
                problems.add(f"{recording.where}, column speaker", "missing, and splits are by speaker")
        problems.check()
        return labels

    def _match_names(self) -> list[Recording]:
        """Return the recordings of the folder, labelled by their names."""
        expression, problems, recordings = compile_pattern(self.pattern), Problems(self.path), []
        if self.split_by == "speaker" and "{speaker}" not in self.pattern:
            raise DataError(f"data.pattern: {self.pattern} holds no {{speaker}}, and splits are by speaker")
        files = sorted(p for p in self.path.rglob("*") if p.is_file() and p.suffix.lower() == ".wav")
        for file in files:
            name = file.relative_to(self.path).as_posix()
            match = expression.fullmatch(name)
            if match is None:
                problems.add(name, f"the name does not match the pattern {self.pattern}")
            else:
                fields = match.groupdict()
                recordings.append(Recording(file, fields["label"], fields.get("speaker", ""), name))
        if not files:
            problems.add("", "no WAV file in this folder")
        problems.check()
        return recordings

    def _read_manifest(self) -> list[Recording]:
        """Return the recordings that the manifest lists."""
        assert self.manifest is not None
        by_speaker = self.split_by == "speaker"
        columns = ("file", "label", *["speaker"] * by_speaker)
        problems, recordings = Problems(self.manifest), []
        for row in Table(self.manifest, columns).rows(problems):
            name, label, speaker = [*row.values, ""][:3]
            if (self.path / str(name)).is_file():
                recordings.append(Recording(self.path / name, str(label), str(speaker), row.where))
            else:
                problems.add(f"{row.where}, column file", f"no file {shorten(name)} in {self.path}")
        problems.check()
        return recordings

    def _features(self, recordings: Sequence[Recording]) -> tuple[Ragged, str]:
        """Return the features of all recordings, and a digest of the content of the files."""
        digest = hashlib.sha256()
        for recording in recordings:
            with recording.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        settings = {"mels": self.mels, "rate": self.rate}
        key = digest.hexdigest()
        arrays = cached("audio_folder", key, settings, lambda: self._compute_features(recordings))
        return Ragged.from_flat(torch.from_numpy(arrays["flat"]), arrays["lengths"]), key[:16]

    def _compute_features(self, recordings: Sequence[Recording]) -> dict[str, np.ndarray]:
        """Compute the features of all recordings.

        Raises:
            DataError: files are not readable, too short, or of another rate than the first.
        """
        problems, features, rate = Problems(self.path), [], self.rate
        for recording in recordings:
            name = recording.path.relative_to(self.path).as_posix()
            try:
                with recording.path.open("rb") as file:
                    sound = read_wav(file)
                rate = rate or sound.rate
                if self.rate is None and sound.rate != rate:
                    remedy = f"data.rate={rate} resamples"
                    problems.add(name, f"{sound.rate} Hz, and the first file has {rate} Hz: {remedy}")
                else:
                    features.append(LogMel(self.mels, rate)(sound))
            except ValueError as error:
                problems.add(name, str(error))
        problems.check()
        return {"flat": np.concatenate(features), "lengths": np.array([len(x) for x in features])}


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern with {label} and, at most once each, {speaker} and {take}.

    Raises:
        DataError: the pattern holds another field, or lacks {label}.
    """
    parts = re.split(r"\{(\w*)\}", pattern)
    fields = parts[1::2]
    if "label" not in fields or set(fields) - set(FIELDS) or len(set(fields)) != len(fields):
        raise DataError(
            f"data.pattern: {pattern} must hold {{label}} and may hold {{speaker}} and {{take}}, once each"
        )
    stops = re.escape("".join(sorted({text[:1] for text in parts[2::2]} | {"/"})))
    expression = ""
    for i, part in enumerate(parts):
        if i % 2:
            expression += rf"(?P<{part}>[^{stops}]+)"
        else:
            expression += re.escape(part)
    return re.compile(expression, re.IGNORECASE)
