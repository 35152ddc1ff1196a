"""The step of a logged row: the number of updates of the weights."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger

from gatescope.training.best_checkpoint import tested_step_and_epoch


class UpdateStepLogger(Logger):
    """A logger whose rows carry the number of completed updates.

    Lightning numbers rows by the updates *before* the current batch: the loss of update N and the validation
    after it would carry N - 1, and the measurements after it N. Here all of them carry N, and the row of the
    test carries the number of updates of the tested weights.

    Attributes:
        trainer: Trainer whose updates are counted; if None, rows carry the step that they are given.
    """

    trainer: pl.Trainer | None = None

    def step_of(self, step: int | None) -> int:
        """Return the step of a row that Lightning numbers `step`."""
        if self.trainer is None:
            return step or 0
        return tested_step_and_epoch(self.trainer)[0] if self.trainer.testing else self.trainer.global_step


def log_update_steps(trainer: pl.Trainer) -> None:
    """Make the loggers of a trainer number their rows by its updates."""
    for logger in trainer.loggers:
        if isinstance(logger, UpdateStepLogger):
            logger.trainer = trainer
