"""The length of training where `trainer.max_epochs` is auto: that of the recipe, limited in updates."""

from __future__ import annotations

import logging
import math
from typing import Any

from omegaconf import DictConfig

from gatescope.data.datamodule import SequenceData
from gatescope.training.batch_limits import limited

log = logging.getLogger(__name__)

AUTO = "auto"


def max_epochs(cfg: DictConfig, data: SequenceData) -> int:
    """Return the number of epochs after which training ends; -1 for no limit.

    Args:
        cfg: Config of the run.
        data: The data, which say how many updates an epoch has.
    """
    trainer = cfg.trainer
    if trainer.max_epochs != AUTO:
        return int(trainer.max_epochs)
    if trainer.max_steps != -1 or trainer.get("fast_dev_run"):
        return -1 if trainer.max_steps != -1 else 1
    updates = updates_per_epoch(cfg, data)
    epochs = epochs_of_length(cfg.recipe.length, updates)
    log.info("training: %d epochs of %d updates (recipe.length)", epochs, updates)
    return epochs


def epochs_of_length(length: Any, updates: int) -> int:
    """Return the number of epochs of a length.

    Args:
        length: `epochs`, the least number of updates `min_steps`, and the largest `max_steps` or None. Whole
            epochs are trained: at least one, and enough for `min_steps`.
        updates: Number of updates in an epoch.
    """
    epochs = max(int(length["epochs"]), math.ceil(length["min_steps"] / updates))
    if length["max_steps"] is not None:
        epochs = min(epochs, length["max_steps"] // updates)
    return max(1, epochs)


def updates_per_epoch(cfg: DictConfig, data: SequenceData) -> int:
    """Return the number of updates of the weights in an epoch, as Lightning counts them."""
    trainer = cfg.trainer
    batches = limited(len(data.train_dataloader()), trainer.get("overfit_batches") or None)
    batches = limited(batches, trainer.get("limit_train_batches"))
    return max(1, math.ceil(batches / (trainer.get("accumulate_grad_batches") or 1)))
