"""Base of the generated tasks: examples drawn from (config, seed), in splits that share no sequence.

Two guards: each split draws from a random stream of its own, and a hash of a sequence, salted with the
seed, decides which split may hold it. Within a split a sequence may repeat, as a short task must.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, Splits
from gatescope.sequences import TaskSpec

_CHUNK = 4096
_SHARES = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}
"""The residues modulo 10 of a sequence's hash that each split holds."""


class GeneratedData(SequenceData):
    """Subclasses say how examples are drawn and what the task is.

    Args:
        train, validation, test: numbers of examples.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        train: Annotated[int, Field(ge=1)] = 10_000,
        validation: Annotated[int, Field(ge=1)] = 1_000,
        test: Annotated[int, Field(ge=1)] = 2_000,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.sizes = {"train": train, "validation": validation, "test": test}

    @abstractmethod
    def spec(self) -> TaskSpec:
        """The task; its notes hold `chance`, the metric of the best answer that remembers nothing."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Independent examples: inputs (count, T) int64 or (count, T, F) float32, and targets (count, …)."""

    def build(self) -> Splits:
        return Splits(self._split("train"), self._split("validation"), self._split("test"), self.spec())

    def _split(self, name: str) -> Examples:
        stream = np.random.SeedSequence(self.seed, spawn_key=(list(_SHARES).index(name),))
        rng = np.random.default_rng(stream)
        inputs, targets, found = [], [], 0
        while found < self.sizes[name]:
            x, y = self.draw(rng, _CHUNK)
            keep = np.array([zlib.crc32(row.tobytes(), self.seed) % 10 in _SHARES[name] for row in x])
            if not keep.any():
                raise DataError(
                    f"too few different sequences for a {name} split of its own: lengthen the lag"
                )
            inputs.append(x[keep])
            targets.append(y[keep])
            found += int(keep.sum())
        chosen = slice(self.sizes[name])
        examples = torch.from_numpy(np.concatenate(inputs)[chosen])
        return Examples(list(examples), torch.from_numpy(np.concatenate(targets)[chosen]))
