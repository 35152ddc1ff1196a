"""The base class of the generated tasks: splits that are drawn from (config, seed) and share no sequence.

Two rules keep the splits disjoint: each split draws from its own random stream, and a hash of a sequence,
salted with the seed, decides which split may contain it. Within a split a sequence may repeat, which short
tasks need.
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
from gatescope.machine import gib, memory
from gatescope.sequences import TaskSpec

_CHUNK = 4096
_RESIDUES = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}
"""The values of a sequence's hash modulo 10 that each split contains."""


class GeneratedData(SequenceData):
    """Base class of the generated tasks; a subclass implements `spec` and `draw`.

    Args:
        train: number of train examples.
        validation: number of validation examples.
        test: number of test examples.
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
        """Return the task; its notes hold `chance`, the metric of the best constant answer."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw independent examples.

        Args:
            rng: the only source of randomness.
            count: number of examples.

        Returns:
            Inputs (count, T) int64 or (count, T, F) float32, and targets (count, …).
        """

    def build(self) -> Splits:
        """Draw the three splits."""
        return Splits(self._split("train"), self._split("validation"), self._split("test"), self.spec())

    def _split(self, name: str) -> Examples:
        stream = np.random.SeedSequence(self.seed, spawn_key=(list(_RESIDUES).index(name),))
        rng = np.random.default_rng(stream)
        inputs: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        count = 0
        while count < self.sizes[name]:
            x, y = self.draw(rng, _CHUNK)
            keep = np.array([zlib.crc32(row.tobytes(), self.seed) % 10 in _RESIDUES[name] for row in x])
            if not keep.any():
                raise DataError(f"too few different sequences for a separate {name} split: increase the lag")
            if not inputs:
                self._check_memory(name, x[0].nbytes)
            inputs.append(x[keep])
            targets.append(y[keep])
            count += int(keep.sum())
        first = slice(self.sizes[name])
        examples = torch.from_numpy(np.concatenate(inputs)[first])
        return Examples(list(examples), torch.from_numpy(np.concatenate(targets)[first]))

    def _check_memory(self, name: str, size: int) -> None:
        """Refuse a number of examples, of so many bytes each, that does not fit into memory."""
        needed, available = size * self.sizes[name], memory()
        if needed > available:
            raise DataError(
                f"data.{name}: given {self.sizes[name]}, and these examples take {gib(needed)}; this machine "
                f"has {gib(available)}: give a smaller number"
            )
