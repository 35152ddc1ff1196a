"""The adding problem (Hochreiter & Schmidhuber 1997, §5.4), in the form of Le et al. 2015.

Each time step has a value, uniform in [0, 1), and a marker. Two steps are marked, one in each half; the
target is the sum of their values. The constant answer 1, the mean, has a mean squared error of 2/12 = 0.1667.
Hochreiter & Schmidhuber count an example as solved if its absolute error is below 0.04.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from gatescope.data.generated.base import GeneratedData
from gatescope.sequences import TaskSpec


class Adding(GeneratedData):
    """Regression on one value.

    Shape:
        inputs (B, T, 2): values and markers. targets (B,).

    Args:
        steps: T, the length of every sequence.
        train, validation, test, batch_size, seed, workers: as in `GeneratedData`.
    """

    def __init__(
        self,
        steps: Annotated[int, Field(ge=2)] = 100,
        train: Annotated[int, Field(ge=1)] = 10_000,
        validation: Annotated[int, Field(ge=1)] = 1_000,
        test: Annotated[int, Field(ge=1)] = 2_000,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(train, validation, test, batch_size, seed, workers)
        self.steps = steps

    def spec(self) -> TaskSpec:
        """Return a regression on one value, compared by mean squared error."""
        return TaskSpec(
            "regression", "features", 2, 1, "mse", "min", tolerance=0.04, notes={"chance": 2 / 12}
        )

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw sequences with two marked steps each, and the sums of the marked values."""
        rows, half = np.arange(count), self.steps // 2
        marked = rng.integers(0, half, count), rng.integers(half, self.steps, count)
        inputs = np.zeros((count, self.steps, 2), dtype=np.float32)
        inputs[:, :, 0] = rng.random((count, self.steps), dtype=np.float32)
        for steps in marked:
            inputs[rows, steps, 1] = 1
        return inputs, sum(inputs[rows, steps, 0] for steps in marked)
