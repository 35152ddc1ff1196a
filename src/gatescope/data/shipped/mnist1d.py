"""MNIST-1D (Greydanus 2020): series of 40 time steps, ten classes, from the package mnist1d (Apache-2.0).

The authors' default set: 4,000 series for training, from which the validation split is taken, and 1,000 for
testing. Published test accuracy: logistic regression 32 %, MLP 68 %, GRU 91 %, CNN 94 %, people 96 %; with
shuffled time steps GRU 57 %, CNN 56 %. The package generates the set in seconds; it is then cached.
"""

from __future__ import annotations

import random
from importlib import metadata
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from gatescope.data.cache import Arrays, cached
from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.series import Series, classification_splits, divide
from gatescope.data.examples import Splits
from gatescope.data.packages import require_package


def read_mnist1d(shuffled: bool) -> Arrays:
    """Return x (4000, 40), y (4000,), x_test (1000, 40), y_test (1000,).

    Raises:
        DataError: mnist1d is not installed.
    """
    with require_package("mnist1d", "mnist1d is made by", "pip install 'gatescope[images]'"):
        version = metadata.version("mnist1d")
    return cached("mnist1d", f"mnist1d {version}", {"shuffled": shuffled}, lambda: _generate(shuffled))


def _generate(shuffled: bool) -> Arrays:
    from mnist1d.data import get_dataset_args, make_dataset  # imports matplotlib

    settings = get_dataset_args()
    settings.shuffle_seq = shuffled
    before = random.getstate(), np.random.get_state()  # noqa: NPY002  the package seeds the global generators
    try:
        dataset = make_dataset(settings)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
    return {name: np.asarray(dataset[name]) for name in ("x", "y", "x_test", "y_test")}


class Mnist1d(SequenceData):
    """Classification of series into ten digits.

    Shape:
        inputs (B, 40, 1). targets (B,).

    Args:
        shuffled: whether the time steps are in one fixed random order, which removes local structure.
        validation: share of the 4,000, stratified by digit.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        shuffled: bool = False,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        batch_size: Annotated[int, Field(ge=1)] = 100,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.shuffled, self.validation = shuffled, validation

    def build(self) -> Splits:
        """Generate the series, or read them from the cache, and divide them into splits."""
        arrays = read_mnist1d(self.shuffled)
        whole, test = _series(arrays["x"], arrays["y"]), _series(arrays["x_test"], arrays["y_test"])
        splits = [*divide(whole, self.validation, self.seed), test]
        labels = [str(digit) for digit in range(10)]
        return classification_splits(splits, labels, {"source": "mnist1d"})


def _series(x: np.ndarray, y: np.ndarray) -> Series:
    return Series(list(torch.from_numpy(x.astype(np.float32))[..., None]), y)
