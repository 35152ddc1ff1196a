"""The Lightning Trainer of a run: checkpoint of the best, early stopping, progress, timing."""

from __future__ import annotations

import logging
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import PassThroughProfiler

from gatescope.data.base import TaskSpec
from gatescope.training.housekeeping import keep_freed_pages, leave_new_tensors_unfilled

OURS = ("_target_", "threads", "compile")
"""Keys of the trainer group that are not Lightning's."""


HARMLESS = (
    # Lightning 2.6 walks containers with a call that torch 2.13 has renamed.
    ".*isinstance.treespec, LeafSpec.. is deprecated",
    # In-process loading is the fast way for data that are in memory already.
    "The '.*_dataloader' does not have many workers",
    # A run that ends before its first validation has no best checkpoint: `run` says so in its own words.
    ".*could not find the monitored key in the returned metrics",
    # Short runs have fewer steps an epoch than the logging cadence.
    "The number of training batches .* is smaller than the logging interval",
    # A machine may have SLURM, and a run be started there by hand.
    "The `srun` command is available on your system but is not used",
    # Resuming and testing write beside an existing best checkpoint.
    "Checkpoint directory .* exists and is not empty",
    # It warns of a sampler that repeats examples to fill the last batch: BucketSampler repeats none.
    "Using `DistributedSampler` with the dataloaders",
)
"""Warnings of Lightning that a run is silent about, each with its reason."""


class EpochTimer(pl.Callback):
    """Logs `seconds_per_epoch`: training, without validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._started = time.perf_counter()
        self._validating = 0.0

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._validating += time.perf_counter() - self._validation_started

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "so_far": time.perf_counter() - self._started - self._validating}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self._validating = list(state_dict["seconds"]), 0.0
        self._started = time.perf_counter() - state_dict["so_far"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self._started - self._validating)
        module.log("seconds_per_epoch", self.seconds[-1], sync_dist=True)


class NoProfiler(PassThroughProfiler):
    """Lightning's own runs a generator for each of the fifty things of a step that could be timed."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def make_trainer(
    cfg: DictConfig,
    task: TaskSpec,
    directory: Path,
    loggers: Sequence[Logger],
    callbacks: Sequence[pl.Callback],
    plugins: Sequence[Any] = (),
    devices: int = 1,
) -> pl.Trainer:
    """A Trainer that keeps the best checkpoint by the task's metric on validation."""
    keep_freed_pages()
    leave_new_tensors_unfilled()
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
    options: dict[str, Any] = {k: v for k, v in OmegaConf.to_object(cfg.trainer).items() if k not in OURS}  # type: ignore[union-attr,misc]
    options["devices"] = devices
    if options.get("profiler") is None:
        options["profiler"] = NoProfiler()
    if devices == 1:
        options.pop("strategy", None)  # DDP of one process only costs
    if options.get("enable_progress_bar") is None:
        options["enable_progress_bar"] = sys.stdout.isatty()
    monitor: Any = {"monitor": f"validation/{task.metric}", "mode": task.direction}
    best = ModelCheckpoint(
        directory / "checkpoints", "best", save_weights_only=True, enable_version_counter=False, **monitor
    )
    every: list[pl.Callback] = [best, EpochTimer(), *callbacks]
    if cfg.early_stopping.patience is not None:
        every.append(EarlyStopping(patience=cfg.early_stopping.patience, **monitor))
    return pl.Trainer(
        logger=list(loggers),
        callbacks=every,
        plugins=list(plugins),
        default_root_dir=directory,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # BucketSampler shares every batch among the ranks itself
        enable_model_summary=False,
        **options,
    )


def best_checkpoint(trainer: pl.Trainer) -> str | None:
    """Path of the checkpoint that was best on validation; None when no validation ran."""
    callback = trainer.checkpoint_callback
    path = callback.best_model_path if isinstance(callback, ModelCheckpoint) else ""
    return path or None


def best_score(trainer: pl.Trainer) -> float:
    """The task's metric on validation at its best; NaN when no validation ran."""
    score = getattr(trainer.checkpoint_callback, "best_model_score", None)
    return float("nan") if score is None else float(score)


def seconds_per_epoch(trainer: pl.Trainer) -> float:
    """Median over epochs; NaN when none was finished."""
    seconds = [s for c in trainer.callbacks if isinstance(c, EpochTimer) for s in c.seconds]  # type: ignore[attr-defined]
    return statistics.median(seconds) if seconds else float("nan")
