"""Real series inside sktime's wheel, from speech, motion sensors, video, outlines and power meters.

Each is one of the UCR and UEA archives (Dau et al. 2019; Bagnall et al. 2018) and keeps its test split; the
validation split is cut from train, stratified. Features are standardised by train. `conf/data/` has a file a
dataset, which says what it is.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.series import Series, classification, divide, folded, standardised

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


def read(dataset: str, split: str) -> tuple[list[Tensor], np.ndarray]:
    """The series of "train" or "test", (T_i, F) float32 each, and the names of their classes.

    Raises:
        DataError: sktime is not installed.
    """
    try:
        datasets = import_module("sktime.datasets")  # takes a second
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
    """Classification of series: inputs (B, T, F), targets (B,).

    Args:
        dataset: one of sktime's.
        fold: consecutive steps that are read as one, for long series: F grows and T shrinks by it.
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
        (series, classes), (test_series, test_classes) = (read(self.dataset, s) for s in ("train", "test"))
        names = sorted({*classes, *test_classes}, key=lambda name: (len(name), name))
        whole = Series(series, np.array([names.index(c) for c in classes]))
        test = Series(test_series, np.array([names.index(c) for c in test_classes]))
        splits = standardised([*divide(whole, self.validation, self.seed), test])
        splits = [Series([folded(x, self.fold) for x in s.series], s.labels) for s in splits]
        return classification(splits, [str(name) for name in names], {"source": f"sktime, {self.dataset}"})
