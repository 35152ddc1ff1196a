"""Parity: whether the number of ones in a sequence of bits is odd.

The state is a single bit that every time step may flip. A recurrence whose gates depend on the input alone
(minGRU, minLSTM) cannot track it over long sequences (Merrill et al. 2024; Sarrof et al. 2024). Chance is an
accuracy of 1/2, a loss of ln 2 nats.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from gatescope.data.generated.base import GeneratedData
from gatescope.sequences import TaskSpec


class Parity(GeneratedData):
    """Classification into even (0) and odd (1).

    Shape:
        inputs (B, lag) bits as ids. targets (B,).

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
        """Return a classification with two classes."""
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
        """Draw sequences of bits and their parities."""
        bits = rng.integers(0, 2, (count, self.lag))
        return bits, bits.sum(axis=1) % 2
