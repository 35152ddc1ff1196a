"""The copy problem (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016, §5.1): a test of storage.

A sequence holds ten symbols out of eight, `lag` - 1 blanks, a delimiter and ten blanks: T = lag + 20 time
steps. At the last ten steps the target is the ten symbols in order; before them it is blank.

`scored` selects the steps that have a target; the others hold IGNORE:
    recall  the last ten. Chance is an accuracy of 1/8, a loss of ln 8 nats.
    all     every step including the blanks, as in published losses: a model without memory that answers
            blank where blank is right has a loss of 10 ln 8 / (lag + 20) nats per step. Accuracy is then
            dominated by the blanks, so studies compare the loss.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from gatescope.data.generated.base import GeneratedData
from gatescope.sequences import IGNORE, TaskSpec

SYMBOLS, COPIED = 8, 10
"""Number of different symbols, and number of symbols to copy."""
BLANK, DELIMITER = 0, SYMBOLS + 1


class Copy(GeneratedData):
    """Classification of every time step.

    Shape:
        inputs (B, lag + 20) ids: 0 blank, 1 to 8 symbols, 9 delimiter. targets (B, lag + 20).

    Args:
        lag: number of steps between a symbol and its target, minus ten.
        scored: the steps that have a target, see above.
        train, validation, test, batch_size, seed, workers: as in `GeneratedData`.
    """

    def __init__(
        self,
        lag: Annotated[int, Field(ge=1)] = 100,
        scored: Literal["recall", "all"] = "recall",
        train: Annotated[int, Field(ge=1)] = 10_000,
        validation: Annotated[int, Field(ge=1)] = 1_000,
        test: Annotated[int, Field(ge=1)] = 2_000,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(train, validation, test, batch_size, seed, workers)
        self.lag, self.scored = lag, scored

    def spec(self) -> TaskSpec:
        """Return a prediction of one symbol per time step."""
        steps = self.lag + 2 * COPIED
        recall = self.scored == "recall"
        symbols = tuple(str(i) for i in range(1, SYMBOLS + 1))
        return TaskSpec(
            kind="next_step",
            inputs="tokens",
            input_size=SYMBOLS + 2,
            output_size=SYMBOLS + 1,
            metric="accuracy" if recall else "loss",
            direction="max" if recall else "min",
            labels=("blank", *symbols),
            vocabulary=("blank", *symbols, "delimiter"),
            notes={"chance": 1 / SYMBOLS if recall else COPIED * math.log(SYMBOLS) / steps},
        )

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw sequences of symbols and their copies."""
        symbols = rng.integers(1, SYMBOLS + 1, (count, COPIED))
        inputs = np.full((count, self.lag + 2 * COPIED), BLANK, dtype=np.int64)
        inputs[:, :COPIED] = symbols
        inputs[:, COPIED + self.lag - 1] = DELIMITER
        targets = np.full_like(inputs, IGNORE if self.scored == "recall" else BLANK)
        targets[:, -COPIED:] = symbols
        return inputs, targets
