"""The step that a logged row carries: the number of updates that the weights have had."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger

from gatescope.training.loop import tested_at


class CountsUpdates(Logger):
    """A logger whose rows carry the number of updates done, whatever Lightning counts.

    Lightning numbers rows by the updates *before* the present batch: the loss of update N and the validation
    after it would carry N - 1, a look after it N. Here the row of update N, the validation of the weights
    that it made and a look at them all carry N; the row of the test that of the tested weights.
    """

    trainer: pl.Trainer | None = None
    """Whose updates are counted; None: rows carry what they are given."""

    def step_of(self, step: int | None) -> int:
        """Return the step of a row that Lightning numbers `step`."""
        if self.trainer is None:
            return step or 0
        return tested_at(self.trainer)[0] if self.trainer.testing else self.trainer.global_step


def count_updates(trainer: pl.Trainer) -> None:
    """Have this trainer's loggers count its updates."""
    for logger in trainer.loggers:
        if isinstance(logger, CountsUpdates):
            logger.trainer = trainer
