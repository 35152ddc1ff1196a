"""Handwritten digits as sequences: scikit-learn's 1,797 images of 8×8 (Alpaydin & Kaynak 1998, UCI).

An image is read pixel by pixel, 64 time steps of one value, as in sequential MNIST (Le et al. 2015), or row
by row, 8 time steps of 8 values; `permuted` reads the pixels in one fixed random order. Values are in [0, 1].
The splits are stratified.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from sklearn.datasets import load_digits

from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, FoldCount
from gatescope.data.encoding.series import Series, classification_splits
from gatescope.data.examples import Splits

PIXELS, BRIGHTEST = 64, 16
"""Number of pixels of an image, and the largest value of a pixel."""


class Digits(SequenceData):
    """Classification of images into ten digits.

    Shape:
        inputs (B, 64, 1) or (B, 8, 8). targets (B,).

    Args:
        by: what a time step is.
        permuted: whether pixels are permuted (before they form rows), in an order drawn by `seed`.
        validation: share of the images, stratified by digit.
        test: share of the images, stratified by digit.
        folds, fold: as in `Division`, without groups.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        by: Literal["pixel", "row"] = "pixel",
        permuted: bool = False,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.2,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        folds: FoldCount = None,
        fold: Fold = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.by, self.permuted = by, permuted
        self.division = Division(validation, test, seed, folds, fold)

    def build(self) -> Splits:
        """Convert the images to sequences and divide them into splits."""
        images, labels = load_digits(return_X_y=True)
        if self.permuted:
            images = images[:, np.random.default_rng(self.seed).permutation(PIXELS)]
        steps = torch.from_numpy((images / BRIGHTEST).astype(np.float32))
        steps = steps.reshape(len(images), PIXELS, 1) if self.by == "pixel" else steps.reshape(-1, 8, 8)
        divided = self.division.split(np.arange(len(labels)), labels)
        whole = Series(list(steps), labels)
        splits = [whole.subset(divided[part]) for part in ("train", "validation", "test")]
        notes = {"source": "scikit-learn"} | self.division.notes()
        return classification_splits(splits, [str(digit) for digit in range(10)], notes)
