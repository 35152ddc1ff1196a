"""Japanese vowels: who of nine speakers says /ae/, from 12 LPC cepstrum coefficients (Kudo et al. 1999).

Real speech of 7 to 29 frames, inside sktime's wheel: 270 utterances to train on, 370 to test on (kept as
they are); the validation split is cut from the 270. Features are standardised by the train split.
Logistic regression on the series resampled to 64 frames: 99.2 %.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from sklearn.model_selection import train_test_split
from torch import Tensor

from gatescope.data.base import DataError, Examples, SequenceData, Splits, TaskSpec


def read_japanese_vowels(split: str) -> tuple[list[Tensor], np.ndarray]:
    """The utterances of "train" or "test", (T_i, 12) float32 each, and their speakers' names.

    Raises:
        DataError: sktime is not installed.
    """
    try:
        from sktime.datasets import load_japanese_vowels  # its import takes a second
    except ImportError as error:
        raise DataError(
            f"japanese_vowels is part of the package sktime, which cannot be imported ({error}): "
            "pip install 'sktime>=1.0,<1.3'"
        ) from error
    # Utterances differ in length: numpy3D, sktime's usual container, raises on them.
    frames, speakers = load_japanese_vowels(split=split, return_X_y=True, return_type="df-list")
    return [torch.from_numpy(f.to_numpy(dtype=np.float32, copy=True)) for f in frames], speakers


class JapaneseVowels(SequenceData):
    """Classification of utterances: inputs (B, T, 12), targets (B,) one of nine speakers.

    Args:
        validation: share of the train utterances, stratified by speaker.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.2,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.validation = validation

    def build(self) -> Splits:
        frames, speakers = read_japanese_vowels("train")
        test_frames, test_speakers = read_japanese_vowels("test")
        names = sorted(set(speakers))
        train, validation = train_test_split(
            np.arange(len(frames)), test_size=self.validation, stratify=speakers, random_state=self.seed
        )
        seen = torch.cat([frames[i] for i in train])
        mean, deviation = seen.mean(dim=0), seen.std(dim=0)

        def examples(utterances: list[Tensor], of: np.ndarray) -> Examples:
            targets = torch.tensor([names.index(name) for name in of])
            return Examples([(x - mean) / deviation for x in utterances], targets)

        return Splits(
            examples([frames[i] for i in train], speakers[train]),
            examples([frames[i] for i in validation], speakers[validation]),
            examples(test_frames, test_speakers),
            TaskSpec(
                kind="classification",
                inputs="features",
                input_size=seen.shape[1],
                output_size=len(names),
                metric="accuracy",
                direction="max",
                labels=tuple(f"speaker {name}" for name in names),
                notes={"source": "sktime", "chance": 1 / len(names)},
            ),
        )
