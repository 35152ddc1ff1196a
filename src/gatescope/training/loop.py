"""The Lightning Trainer of a run: checkpoint of the best, early stopping, progress, timing."""

from __future__ import annotations

import logging
import math
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
from torch import Tensor

from gatescope.sequences import TaskSpec
from gatescope.training.housekeeping import counted_as_overhead, keep_freed_pages, leave_new_tensors_unfilled

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
    # A scheduler that watches validation leaves out the epochs without one.
    "ReduceLROnPlateau conditioned on metric",
    # It warns of a sampler that repeats examples to fill the last batch: BucketSampler repeats none.
    "Using `DistributedSampler` with the dataloaders",
)
"""Warnings of Lightning that a run is silent about, each with its reason."""


class EpochTimer(pl.Callback):
    """Logs `seconds_per_epoch`, the training time of each whole epoch.

    Validation, and what other callbacks count as their `overhead_seconds` (looks of the instruments, writing
    of checkpoints), is left out, and so is an epoch that ends before all its batches were seen.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """Of each whole epoch."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._trainer = trainer

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._started, self._validating = time.perf_counter(), 0.0
        self._overhead = self._overhead_seconds()

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._validation_started = time.perf_counter()
        self._overhead_before = self._overhead_seconds()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # What is overhead already is not counted twice.
        overhead = self._overhead_seconds() - self._overhead_before
        self._validating += time.perf_counter() - self._validation_started - overhead

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "so_far": self._training_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self._validating, self._overhead = list(state_dict["seconds"]), 0.0, 0.0
        self._started = time.perf_counter() - state_dict["so_far"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_last_batch:
            self.seconds.append(self._training_seconds())
            module.log("seconds_per_epoch", self.seconds[-1], sync_dist=True)

    def _training_seconds(self) -> float:
        """Of the present epoch so far."""
        overhead = self._overhead_seconds() - self._overhead
        return time.perf_counter() - self._started - self._validating - overhead

    def _overhead_seconds(self) -> float:
        """What all callbacks have counted so far."""
        callbacks: list[Any] = self._trainer.callbacks  # type: ignore[attr-defined]
        return sum(one.overhead_seconds for one in callbacks if hasattr(one, "overhead_seconds"))


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights with the best validation metric; of equal ones those with the lowest validation loss.

    Attributes:
        best_step: updates that the kept weights have had; None before the first validation.
        best_epoch: the epoch in which they were validated.
    """

    LOSS = "validation/loss"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.best_loss = math.inf
        self.best_step: int | None = None
        self.best_epoch: int | None = None
        self.overhead_seconds = 0.0

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        better = super().check_monitor_top_k(trainer, current)
        loss = float(trainer.callback_metrics.get(self.LOSS, math.inf))
        if not better and current is not None and self.best_model_score is not None:
            tied = bool(current == self.best_model_score) and loss < self.best_loss
            better = trainer.strategy.reduce_boolean_decision(tied)
        if better:
            self.best_loss, self.best_step, self.best_epoch = loss, trainer.global_step, trainer.current_epoch
        return better

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with counted_as_overhead(self):
            super().on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        best = {"best_loss": self.best_loss, "best_step": self.best_step, "best_epoch": self.best_epoch}
        return super().state_dict() | best

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.best_loss = state_dict["best_loss"]
        self.best_step, self.best_epoch = state_dict["best_step"], state_dict["best_epoch"]


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
    best = BestCheckpoint(
        directory / "checkpoints",
        "best",
        save_weights_only=True,
        enable_version_counter=False,
        save_on_train_epoch_end=False,  # after each validation, also of several in an epoch
        **monitor,
    )
    every: list[pl.Callback] = [best, EpochTimer(), *callbacks]
    if cfg.early_stopping.patience is not None:
        # Not strict: a run may end before its first validation. `patience` counts validations.
        options_of_stopping: dict[str, Any] = {"strict": False, "check_on_train_epoch_end": False}
        every.append(EarlyStopping(patience=cfg.early_stopping.patience, **options_of_stopping, **monitor))
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


def ends_training(trainer: pl.Trainer) -> bool:
    """Whether the batch that was just trained on is the last one of the run."""
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return True
    limited = trainer.max_epochs not in (None, -1)
    if limited and trainer.is_last_batch and trainer.current_epoch + 1 >= trainer.max_epochs:  # type: ignore[operator]
        return True
    epochs = trainer.current_epoch + int(trainer.is_last_batch)
    long_enough = trainer.global_step >= (trainer.min_steps or 0) and epochs >= (trainer.min_epochs or 0)
    return trainer.should_stop and long_enough


def best_checkpoint(trainer: pl.Trainer) -> str | None:
    """Path of the checkpoint that was best on validation; None when no validation ran."""
    callback = trainer.checkpoint_callback
    path = callback.best_model_path if isinstance(callback, ModelCheckpoint) else ""
    return path or None


def best_score(trainer: pl.Trainer) -> float:
    """The task's metric on validation at its best; NaN when no validation ran."""
    score = getattr(trainer.checkpoint_callback, "best_model_score", None)
    return float("nan") if score is None else float(score)


def tested_at(trainer: pl.Trainer) -> tuple[int, int]:
    """Return the number of updates that the tested weights have had, and their epoch."""
    best = trainer.checkpoint_callback
    if isinstance(best, BestCheckpoint) and best.best_step is not None and best.best_epoch is not None:
        return best.best_step, best.best_epoch
    return trainer.global_step, trainer.current_epoch


def epoch_seconds(trainer: pl.Trainer) -> list[float]:
    """Return the training time of each whole epoch."""
    return [s for one in trainer.callbacks if isinstance(one, EpochTimer) for s in one.seconds]  # type: ignore[attr-defined]


def seconds_per_epoch(trainer: pl.Trainer) -> float:
    """Median over whole epochs; NaN when there was none."""
    seconds = epoch_seconds(trainer)
    return statistics.median(seconds) if seconds else float("nan")
