"""Early stopping: after a number of updates, and at a value of the metric."""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping


class EarlyStoppingAfter(EarlyStopping):
    """Lightning's early stopping, from a number of updates of the weights on.

    An epoch of a small dataset has few updates: its first epochs without a better metric say nothing.
    Lightning's `min_steps` only delays the end, so that training ends at that step even if the metric has
    improved since.

    Args:
        min_steps: Number of updates before which validations are not counted.
        **options: Arguments of Lightning's `EarlyStopping`.
    """

    def __init__(self, min_steps: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.min_steps = min_steps

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop training if `patience` validations since `min_steps` had no better metric."""
        if trainer.global_step >= self.min_steps:
            super().on_validation_end(trainer, pl_module)


class StoppingThreshold(EarlyStopping):
    """Lightning's early stopping at a value of the metric, without patience.

    A run that has solved its task learns nothing more in the updates that remain.

    Args:
        threshold: Training ends when the metric is better than this value.
        **options: Arguments of Lightning's `EarlyStopping`.
    """

    def __init__(self, threshold: float, **options: Any) -> None:
        super().__init__(
            stopping_threshold=threshold,
            patience=sys.maxsize,
            strict=False,
            check_on_train_epoch_end=False,
            **options,
        )
