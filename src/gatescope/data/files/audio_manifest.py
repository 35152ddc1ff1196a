"""The user's recordings with transcripts: a table of paths and transcripts, or a folder as LibriSpeech's.

Common Voice: `data.path=en/train.tsv data.validation_path=en/dev.tsv data.test_path=en/test.tsv`; clips are
looked for in the folder `clips` beside the table. LibriSpeech: `data.path=LibriSpeech/train-clean-100
data.validation_path=LibriSpeech/dev-clean data.test_path=LibriSpeech/test-clean`. Recordings may have any
rate; features are cached by the content of the recordings and the settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from gatescope.data.cache import Arrays, cached
from gatescope.data.division import Division, Fold, Folds
from gatescope.data.encoding.audio import read_sound, require_fbank
from gatescope.data.encoding.spec_augment import Count
from gatescope.data.encoding.speech import SpeechFeatures, alphabet_of, speech_splits
from gatescope.data.errors import DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.sources import source_files
from gatescope.data.files.transcripts import PUNCTUATION, Columns, Transcribed, plain, read_transcripts
from gatescope.data.ragged import Ragged
from gatescope.data.speech import Mels, SpeechData, Stack
from gatescope.sequences import Split

PARTS: tuple[Split, ...] = ("train", "validation", "test")
Share = Annotated[float, Field(gt=0, lt=0.5)]


class AudioManifest(SpeechData):
    """Transduction from recordings to the characters of their transcripts.

    Args:
        path: of the table or folder of train, or of all recordings.
        validation_path, test_path: of those of validation and test; None takes them from `path`.
        audio, transcript, speaker: columns of a table; None looks for the usual names.
        folder: that the paths of a table are relative to; None for that of the table, or its folder clips.
        split_by: what is in one split only: each example, or each speaker.
        validation, test: shares of the recordings, or of the speakers, that are taken from `path`.
        folds, fold: as in `Division`; the groups are the speakers, with split_by=speaker.
        lower: whether transcripts become lower case.
        remove: characters that are removed from transcripts.
        alphabet: the characters that transcripts may hold; None for those of the train transcripts.
        mels, rate, stack: as in `SpeechFeatures`.
        time_masks, time_width, band_masks, band_width: as in `SpeechData`.
        name: of the data in tables, folders and W&B; None for the name of `path`.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        path: str,
        validation_path: str | None = None,
        test_path: str | None = None,
        audio: str | None = None,
        transcript: str | None = None,
        speaker: str | None = None,
        folder: str | None = None,
        split_by: Literal["example", "speaker"] = "example",
        validation: Share = 0.1,
        test: Share = 0.1,
        folds: Folds = None,
        fold: Fold = None,
        lower: bool = True,
        remove: str = PUNCTUATION,
        alphabet: str | None = None,
        mels: Mels = 40,
        rate: Annotated[int, Field(ge=4000)] = 16_000,
        stack: Stack = 3,
        time_masks: Count = 0,
        time_width: Count = 8,
        band_masks: Count = 0,
        band_width: Count = 8,
        name: str | None = None,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        masks = (time_masks, time_width, band_masks, band_width)
        features = SpeechFeatures(mels, rate, stack)
        super().__init__(features, *masks, batch_size=batch_size, seed=seed, workers=workers)
        self.files = source_files(path, validation_path, test_path)
        root = None if folder is None else Path(folder).expanduser()
        self.columns, self.split_by = Columns(audio, transcript, speaker, root), split_by
        self.division = Division(validation, test, seed, folds, fold)
        self.lower, self.remove, self.alphabet, self.name = lower, remove, alphabet, name
        self.recordings: dict[Split, list[Transcribed]] = {}

    def build(self) -> Splits:
        """Read the lists, divide them into splits, and compute the features of the recordings."""
        require_fbank()
        self.recordings = self._divided()
        alphabet = self.alphabet or alphabet_of([one.text for one in self.recordings["train"]])
        for split in PARTS:
            self._check_symbols(split, alphabet)
        parts, digests = zip(*(self._features(split) for split in PARTS), strict=True)
        texts = [[one.text for one in self.recordings[split]] for split in PARTS]
        notes = {
            "source": ", ".join(path.name for path in self.files.values()),
            "sha256": dict(zip(PARTS, digests, strict=True)),
            "split_by": self.split_by,
            **self.division.notes(),
        }
        return speech_splits(parts, texts, alphabet, self.features, notes)

    def place(self, split: Split, index: int) -> str:
        """Return the path of a recording."""
        return str(self.recordings[split][index].path)

    def _divided(self) -> dict[Split, list[Transcribed]]:
        """Return the recordings of each split, with the transcripts as they are learnt."""
        by_speaker = self.split_by == "speaker"
        lists: dict[str, list[Transcribed]] = {}
        for part, path in self.files.items():
            read = read_transcripts(path, self.columns, by_speaker)
            lists[part] = [one._replace(text=plain(one.text, self.lower, self.remove)) for one in read]
        train, given = lists["train"], [part for part in lists if part != "train"]
        if len(given) == 2:
            return {part: lists[part] for part in PARTS}
        groups = None
        if by_speaker:
            groups = np.unique([one.speaker for one in train], return_inverse=True)[1]
        try:
            rows = self.division.split(np.arange(len(train)), None, groups, given)
        except ValueError as error:
            raise DataError(f"{self.files['train']}: too few recordings to divide: {error}") from error
        return {part: [train[i] for i in rows[part]] if part in rows else lists[part] for part in PARTS}

    def _check_symbols(self, split: Split, alphabet: str) -> None:
        """Check that the transcripts of a split hold characters of the alphabet.

        Raises:
            DataError: one holds another, or none at all.
        """
        problems = Problems(self.files.get(split, self.files["train"]))
        known = "data.alphabet" if self.alphabet else "the transcripts of train"
        for one in self.recordings[split]:
            other = sorted(set(one.text) - set(alphabet))
            if not one.text:
                problems.add(one.where, "the transcript holds nothing that is spoken")
            elif other:
                shown = " ".join(map(repr, other[:5]))
                remedy = "write it as it is said, or add it to data.remove or data.alphabet"
                problems.add(one.where, f"the transcript holds {shown}, which is not in {known}: {remedy}")
        problems.check()

    def _features(self, split: Split) -> tuple[Ragged, str]:
        """Return the features of a split, and a digest of its recordings."""
        recordings, digest = self.recordings[split], hashlib.sha256()
        for recording in recordings:
            with recording.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        settings = {name: getattr(self.features, name) for name in ("mels", "rate", "stack")}
        key = digest.hexdigest()
        arrays = cached("audio_manifest", key, settings, lambda: self._compute(recordings))
        return Ragged.from_flat(torch.from_numpy(arrays["flat"]), arrays["lengths"]), key[:16]

    def _compute(self, recordings: Sequence[Transcribed]) -> Arrays:
        """Compute the features of recordings.

        Raises:
            DataError: one is not readable, silent or too short.
        """
        problems, features = Problems(self.files["train"]), []
        for recording in recordings:
            try:
                features.append(self.features(read_sound(recording.path)))
            except (ValueError, OSError) as error:
                if isinstance(error, DataError):
                    raise
                problems.add(f"{recording.where}, {recording.path.name}", str(error))
        problems.check()
        return {"flat": np.concatenate(features), "lengths": np.array([len(one) for one in features])}
