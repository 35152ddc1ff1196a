"""The check that the limits of the trainer, which count batches, fit the number of batches of the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig

from gatescope.config import ConfigError
from gatescope.data.datamodule import SequenceData

LOADERS = {"train": "train_dataloader", "val": "val_dataloader", "test": "test_dataloader"}


def check_batch_limits(cfg: DictConfig, data: SequenceData) -> None:
    """Raise if a share of the batches is less than one batch, or an epoch ends before its first validation.

    Args:
        cfg: Config of the run.
        data: The data.

    Raises:
        ConfigError: It is; the message has the number of batches.
    """
    if problems := list(_problems(cfg, data)):
        raise ConfigError(problems)


def _problems(cfg: DictConfig, data: SequenceData) -> Iterator[str]:
    trainer = cfg.trainer
    if trainer.get("fast_dev_run"):
        return  # it replaces the other limits
    if overfit := trainer.get("overfit_batches"):  # it replaces those of train and validation
        fewest = min(len(data.train_dataloader()), len(data.val_dataloader()))
        yield from _share_problem("overfit_batches", overfit, fewest)
        return
    batches = 0
    for split, loader in LOADERS.items():
        limit = trainer.get(f"limit_{split}_batches")
        if limit is None and split != "train":
            continue
        count = len(getattr(data, loader)())
        yield from _share_problem(f"limit_{split}_batches", limit, count)
        if split == "train":
            batches = limited(count, limit)
    interval = trainer.get("val_check_interval")
    counts_epochs = trainer.get("check_val_every_n_epoch", 1) is not None
    if type(interval) is int and counts_epochs and 0 < batches < interval:
        yield (
            f"trainer.val_check_interval: given {interval}, and an epoch has {batches} batches; give at most "
            f"{batches}, or also trainer.check_val_every_n_epoch=null, which counts batches over epochs"
        )


def _share_problem(key: str, limit: Any, count: int) -> Iterator[str]:
    """Yield a message if a limit is a share that is less than one of `count` batches."""
    if isinstance(limit, float) and 0 < limit * count < 1:
        yield (
            f"trainer.{key}: given {limit}, less than one of the {count} batches; give a number of batches, "
            f"or a share from {1 / count:.3g}"
        )


def limited(count: int, limit: Any) -> int:
    """Return the number of batches that training uses."""
    if limit is None:
        return count
    return int(count * limit) if isinstance(limit, float) else min(count, limit)
