"""The copy problem (Hochreiter & Schmidhuber 1997; as Arjovsky et al. 2016, §5.1, draw it): pure storage.

Ten symbols out of eight, `lag` - 1 blanks, a delimiter, ten blanks: T = lag + 20 steps. While the last ten
blanks go by, the ten symbols are to be named in order; before, the answer is blank.

`scored` chooses which steps carry a target; the others hold IGNORE:
    recall  the last ten. Chance is an accuracy of 1/8, a loss of ln 8 nats.
    all     every step, the blanks too, as published losses have it: remembering nothing and answering blank
            where it is due costs 10 ln 8 / (lag + 20) nats a step. Accuracy then says little, so the loss is
            what is compared.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from gatescope.data.generated import GeneratedData
from gatescope.sequences import IGNORE, TaskSpec

SYMBOLS, COPIED = 8, 10
BLANK, DELIMITER = 0, SYMBOLS + 1


class Copy(GeneratedData):
    """A symbol a step: inputs (B, lag + 20) ids (0 blank, 1 to 8 symbols, 9 delimiter), targets likewise.

    Args:
        lag: steps between a symbol and the moment that it is asked for, less ten.
        scored: see above.
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
        symbols = rng.integers(1, SYMBOLS + 1, (count, COPIED))
        inputs = np.full((count, self.lag + 2 * COPIED), BLANK, dtype=np.int64)
        inputs[:, :COPIED] = symbols
        inputs[:, COPIED + self.lag - 1] = DELIMITER
        targets = np.full_like(inputs, IGNORE if self.scored == "recall" else BLANK)
        targets[:, -COPIED:] = symbols
        return inputs, targets
