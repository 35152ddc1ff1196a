"""Delayed recall: the class of a sequence is its first symbol, which `lag` distractors follow.

Distractors have ids of their own, so that a model that reads the whole sequence (attention, mean or max
pooling) finds the symbol at any lag; with the last hidden state alone, the recurrence must store it. Chance
is an accuracy of 1 / `symbols`, a loss of ln(symbols) nats.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.data.generated.base import GeneratedData
from gatescope.sequences import Batch, Split, TaskSpec


class DelayedRecall(GeneratedData):
    """Classification by the first symbol.

    Shape:
        inputs (B, lag + 1) ids: the symbols first, then the distractors. targets (B,).

    Args:
        lag: number of distractors after the symbol.
        symbols: number of classes.
        distractors: number of different distractor ids.
        train, validation, test, batch_size, seed, workers: as in `GeneratedData`.
    """

    def __init__(
        self,
        lag: Annotated[int, Field(ge=2)] = 100,
        symbols: Annotated[int, Field(ge=2)] = 8,
        distractors: Annotated[int, Field(ge=2)] = 8,
        train: Annotated[int, Field(ge=1)] = 10_000,
        validation: Annotated[int, Field(ge=1)] = 1_000,
        test: Annotated[int, Field(ge=1)] = 2_000,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(train, validation, test, batch_size, seed, workers)
        self.lag, self.symbols, self.distractors = lag, symbols, distractors

    def spec(self) -> TaskSpec:
        """Return a classification with one class per symbol."""
        labels = tuple(f"symbol {i}" for i in range(self.symbols))
        return TaskSpec(
            kind="classification",
            inputs="tokens",
            input_size=self.symbols + self.distractors,
            output_size=1 if self.symbols == 2 else self.symbols,
            metric="accuracy",
            direction="max",
            labels=labels,
            vocabulary=labels + tuple(f"distractor {i}" for i in range(self.distractors)),
            notes={"chance": 1 / self.symbols},
        )

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw sequences of one symbol and `lag` distractors, and the symbols."""
        inputs = rng.integers(self.symbols, self.symbols + self.distractors, (count, self.lag + 1))
        inputs[:, 0] = rng.integers(0, self.symbols, count)
        return inputs, inputs[:, 0].copy()

    def alignment(self, split: Split, batch: Batch) -> Tensor:
        """Return (B, 1, T) bool, true at the symbol."""
        known = torch.zeros(len(batch.inputs), 1, batch.inputs.shape[1], dtype=torch.bool)
        known[:, :, 0] = True
        return known
