"""The checkpoint with the best validation metric, which is the one that is tested."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from gatescope.training.timing import add_overhead


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights with the best validation metric, or the best mean of it over some validations.

    Ties are broken by the lower validation loss.

    Attributes:
        best_step: Number of updates of the kept weights; None before the first validation.
        best_epoch: Epoch in which they were validated.
        best_loss: Their validation loss.
        best_metrics: Their validation metrics, by the names under which they are logged.
        overhead_seconds: Time spent writing checkpoints.
    """

    LOSS = "validation/loss"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.best_loss = math.inf
        self.best_metrics: dict[str, float] = {}
        self.best_step: int | None = None
        self.best_epoch: int | None = None
        self.overhead_seconds = 0.0

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Return whether the current weights are better than the kept ones."""
        is_better = super().check_monitor_top_k(trainer, current)
        loss = float(trainer.callback_metrics.get(self.LOSS, math.inf))
        if not is_better and current is not None and self.best_model_score is not None:
            wins_tie = bool(current == self.best_model_score) and loss < self.best_loss
            is_better = trainer.strategy.reduce_boolean_decision(wins_tie)
        if is_better:
            self.best_loss, self.best_step, self.best_epoch = loss, trainer.global_step, trainer.current_epoch
            self.best_metrics = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("validation/")
            }
        return is_better

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the weights if they are better, and count the time as overhead."""
        with add_overhead(self):
            super().on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `ModelCheckpoint`, and loss, metrics, step and epoch of the kept weights."""
        best = {"best_loss": self.best_loss, "best_step": self.best_step, "best_epoch": self.best_epoch}
        return super().state_dict() | best | {"best_metrics": self.best_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.best_loss = state_dict["best_loss"]
        self.best_metrics = state_dict.get("best_metrics", {})
        self.best_step, self.best_epoch = state_dict["best_step"], state_dict["best_epoch"]


def best_checkpoint_path(trainer: pl.Trainer) -> str | None:
    """Return the path of the best checkpoint; None if no validation ran."""
    callback = trainer.checkpoint_callback
    path = callback.best_model_path if isinstance(callback, ModelCheckpoint) else ""
    return path or None


def metrics_of_best(trainer: pl.Trainer) -> dict[str, float]:
    """Return the validation metrics of the kept weights by name; empty if no validation ran."""
    best = trainer.checkpoint_callback
    return best.best_metrics if isinstance(best, BestCheckpoint) else {}


def tested_step_and_epoch(trainer: pl.Trainer) -> tuple[int, int]:
    """Return the number of updates of the tested weights, and the epoch in which they were validated.

    The tested weights are the best ones, or the last ones if no validation ran.
    """
    best = trainer.checkpoint_callback
    if isinstance(best, BestCheckpoint) and best.best_step is not None and best.best_epoch is not None:
        return best.best_step, best.best_epoch
    return trainer.global_step, trainer.current_epoch
