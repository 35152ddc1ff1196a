"""Parity: is the number of ones odd? A single bit of state, which every step may flip.

A recurrence whose gates see the input alone (minGRU, minLSTM) cannot track it over long sequences (Merrill
et al. 2024; Sarrof et al. 2024). Chance is one half, ln 2 nats.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from gatescope.data.generated import GeneratedData
from gatescope.sequences import TaskSpec


class Parity(GeneratedData):
    """Classification into even (0) and odd (1): inputs (B, lag) bits as ids, targets (B,).

    Args:
        lag: number of bits; below about 16 the splits hold few different sequences.
        train, validation, test, batch_size, seed, workers: as in `GeneratedData`.
    """

    def __init__(
        self,
        lag: Annotated[int, Field(ge=4)] = 20,
        train: Annotated[int, Field(ge=1)] = 10_000,
        validation: Annotated[int, Field(ge=1)] = 1_000,
        test: Annotated[int, Field(ge=1)] = 2_000,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(train, validation, test, batch_size, seed, workers)
        self.lag = lag

    def spec(self) -> TaskSpec:
        return TaskSpec(
            kind="classification",
            inputs="tokens",
            input_size=2,
            output_size=1,
            metric="accuracy",
            direction="max",
            labels=("even", "odd"),
            vocabulary=("0", "1"),
            notes={"chance": 1 / 2},
        )

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        bits = rng.integers(0, 2, (count, self.lag))
        return bits, bits.sum(axis=1) % 2
