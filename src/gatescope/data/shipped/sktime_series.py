"""Measured series inside sktime's wheel: speech, motion sensors, video, outlines and power meters.

Each set belongs to the UCR and UEA archives (Dau et al. 2019; Bagnall et al. 2018) and keeps its test split;
the validation split is taken from train, stratified. Features are standardised by train. Each set has a file
in `conf/data/` that describes it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.series import Series, classification_splits, divide, fold, standardise
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits

Dataset = Literal[
    "japanese_vowels",
    "basic_motions",
    "gunpoint",
    "arrow_head",
    "osuleaf",
    "acsf1",
    "plaid",
    "italy_power_demand",
]


def read_sktime(dataset: str, split: str) -> tuple[list[Tensor], np.ndarray]:
    """Read a set of sktime.

    Args:
        dataset: name of the set.
        split: "train" or "test".

    Returns:
        Series (T_i, F) float32, and the name of the class of each.

    Raises:
        DataError: sktime is not installed.
    """
    try:
        datasets = import_module("sktime.datasets")  # the import takes a second
    except ImportError as error:
        raise DataError(
            f"{dataset} is part of the package sktime, which cannot be imported ({error}): "
            "pip install 'sktime>=1.0,<1.3'"
        ) from error
    load = getattr(datasets, f"load_{dataset}")
    # Series may differ in length: numpy3D, sktime's usual container, raises on them.
    frames, names = load(split=split, return_X_y=True, return_type="df-list")
    return [torch.from_numpy(f.to_numpy(dtype=np.float32, copy=True)) for f in frames], names


class SktimeSeries(SequenceData):
    """Classification of series.

    Shape:
        inputs (B, T, F). targets (B,).

    Args:
        dataset: name of one of sktime's sets.
        fold: number of consecutive time steps that become one: F grows and T shrinks by this factor.
        validation: share of the train series, stratified by class.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        dataset: Dataset,
        fold: Annotated[int, Field(ge=1)] = 1,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.2,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.dataset, self.fold, self.validation = dataset, fold, validation

    def build(self) -> Splits:
        """Read the series, divide and standardise them."""
        (series, classes), (test_series, test_classes) = (
            read_sktime(self.dataset, split) for split in ("train", "test")
        )
        names = sorted({*classes, *test_classes}, key=lambda name: (len(name), name))
        whole = Series(series, np.array([names.index(name) for name in classes]))
        test = Series(test_series, np.array([names.index(name) for name in test_classes]))
        splits = standardise([*divide(whole, self.validation, self.seed), test])
        splits = [Series([fold(x, self.fold) for x in s.series], s.labels) for s in splits]
        notes = {"source": f"sktime, {self.dataset}"}
        return classification_splits(splits, [str(name) for name in names], notes)
