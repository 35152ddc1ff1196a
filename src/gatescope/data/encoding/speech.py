"""From recordings and their transcripts to a transduction from log-mel features to characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from gatescope.data.encoding.audio import SHIFT_MS, LogMel, Sound
from gatescope.data.encoding.pairs import ENDING
from gatescope.data.encoding.series import fold, standardise_in_place
from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged
from gatescope.sequences import END, TaskSpec


@dataclass(frozen=True)
class SpeechFeatures:
    """The features of a recording: log-mel energies, minus their mean, several windows in one step.

    Args:
        mels: number of mel bands.
        rate: in Hz, to which sounds are resampled.
        stack: number of consecutive windows of 10 ms in one step (Sak et al. 2015), which makes sequences
            shorter.
        subtract_mean: 1 subtracts the mean spectrum of a recording from it, which removes much of what
            differs between voices, microphones and rooms; 0 does not.
    """

    mels: int
    rate: int
    stack: int = 1
    subtract_mean: int = 1

    def __call__(self, sound: Sound) -> np.ndarray:
        """Compute the features of a recording.

        Returns:
            (⌈windows / stack⌉, stack·mels) float32.

        Raises:
            ValueError: the recording is silent, shorter than a window, or not finite.
        """
        if not np.ptp(sound.samples):
            raise ValueError("the recording is silent: all samples are equal")
        windows = LogMel(self.mels, self.rate)(sound)
        if self.subtract_mean:
            windows -= windows.mean(axis=0)
        return fold(torch.from_numpy(windows), self.stack).numpy()

    @property
    def seconds(self) -> float:
        """Time between two steps."""
        return self.stack * SHIFT_MS / 1000


def alphabet_of(transcripts: Sequence[str]) -> str:
    """Return the characters of the transcripts, sorted."""
    return "".join(sorted(set().union(*map(set, transcripts))))


def speech_splits(
    parts: Sequence[Ragged],
    transcripts: Sequence[Sequence[str]],
    alphabet: str,
    features: SpeechFeatures,
    notes: dict[str, Any],
) -> Splits:
    """Return the transduction from recordings to their transcripts, compared by the word error rate.

    Args:
        parts: features of the train, validation and test recordings, which are standardised in place.
        transcripts: of the recordings of each part, of characters of the alphabet.
        alphabet: the characters that are recognised.
        features: settings of the features.
        notes: facts for the record.
    """
    vocabulary = (ENDING, *alphabet)
    index: Mapping[str, int] = {symbol: i for i, symbol in enumerate(vocabulary)}
    task = TaskSpec(
        kind="transduction",
        inputs="features",
        input_size=parts[0].flat.shape[1],
        output_size=len(vocabulary),
        metric="word_error_rate",
        direction="min",
        target_vocabulary=vocabulary,
        target_unit="character",
        notes=notes | {"hours": _hours(parts, features)},
        input_scale=standardise_in_place(parts),
        sound=asdict(features),
    )
    train, validation, test = (
        Examples(part, [torch.tensor([*map(index.__getitem__, text), END]) for text in texts])
        for part, texts in zip(parts, transcripts, strict=True)
    )
    return Splits(train, validation, test, task)


def _hours(parts: Sequence[Ragged], features: SpeechFeatures) -> dict[str, float]:
    """Return the hours of sound in each split."""
    return {
        name: round(float(part.lengths.sum()) * features.seconds / 3600, 3)
        for name, part in zip(("train", "validation", "test"), parts, strict=True)
    }
