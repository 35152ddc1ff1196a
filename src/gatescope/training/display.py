"""What a run shows while it trains: a progress bar on a terminal, else a line an epoch."""

from __future__ import annotations

import logging
import math
import sys
import time
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pytorch_lightning.callbacks import TQDMProgressBar
from torch import Tensor

from gatescope.training.best_checkpoint import BestCheckpoint, metrics_of_best
from gatescope.training.monitor import Monitor

log = logging.getLogger(__name__)

SECONDS_IN_SWEEP = 30.0
"""Least time between two lines of a run in a sweep, which has a line of its own for each run."""


class EpochLoss:
    """The mean training loss of the current epoch, for which the processor does not wait for a GPU."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new epoch."""
        self._sum: Tensor | float = 0.0
        self._examples = 0

    def add(self, loss: Tensor, examples: int) -> None:
        """Add the mean loss of a batch."""
        self._sum = self._sum + loss * examples
        self._examples += examples

    @property
    def value(self) -> float:
        """The mean over the examples so far; NaN before the first batch."""
        return float(self._sum) / self._examples if self._examples else math.nan


def display_callback(show_bar: bool | None, monitor: Monitor) -> pl.Callback | None:
    """Return the callback that shows the progress of a run; None for one of several that run at once.

    Args:
        show_bar: Whether to show a progress bar; None: on a terminal.
        monitor: The validation metric to show.
    """
    in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if in_sweep and not str(HydraConfig.get().launcher.get("_target_")).endswith("BasicLauncher"):
        return None
    if show_bar if show_bar is not None else sys.stdout.isatty():
        return RunBar(monitor)
    return EpochLines(monitor, SECONDS_IN_SWEEP if in_sweep else 0.0)


class EpochLines(pl.Callback):
    """Logs a line an epoch: training loss, validation metric, its best value so far, and seconds.

    Args:
        monitor: The validation metric.
        seconds: Least time between two lines; the lines of other epochs are left out. 0: every epoch has one.
    """

    def __init__(self, monitor: Monitor, seconds: float = 0.0) -> None:
        self.monitor, self.seconds = monitor, seconds
        self._epoch_started = self._shown = time.monotonic()
        self._validated = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of an epoch."""
        self._epoch_started, self._validated = time.monotonic(), False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that this epoch has a value of its own."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the line of the epoch."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self._shown >= self.seconds:
            self._shown = now
            log.info("%s", self._line(trainer, pl_module, now - self._epoch_started))

    def _line(self, trainer: pl.Trainer, module: Any, seconds: float) -> str:
        parts = [f"train loss {module.epoch_loss.value:#.4g}"]
        value = trainer.callback_metrics.get(self.monitor.name)
        if self._validated and value is not None:
            parts.append(f"{in_words(self.monitor.name)} {float(value):#.4g}")
        if (best := metrics_of_best(trainer).get(self.monitor.name)) is not None:
            parts.append(f"best {best:#.4g}{_epoch_of_best(trainer)}")
        return f"{epoch_text(trainer)}: {', '.join(parts)}, {seconds:.1f} s"


class RunBar(TQDMProgressBar):
    """Lightning's progress bar with the training loss of the epoch and the monitored validation metric.

    Args:
        monitor: The validation metric.
    """

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self.monitor = monitor

    def get_metrics(self, trainer: pl.Trainer, pl_module: Any) -> dict[str, Any]:
        """Return what is written beside the bar."""
        metrics: dict[str, Any] = {"train loss": f"{pl_module.epoch_loss.value:#.4g}"}
        value = trainer.callback_metrics.get(self.monitor.name)
        if value is not None:
            metrics[in_words(self.monitor.name)] = f"{float(value):#.4g}"
        if (best := metrics_of_best(trainer).get(self.monitor.name)) is not None:
            metrics["best"] = f"{best:#.4g}"
        return metrics

    def on_train_epoch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Name the epoch as the lines do, counted from 1."""
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description(epoch_text(trainer))


def epoch_text(trainer: pl.Trainer) -> str:
    """Return "epoch 3 of 20", or "epoch 3" where their number is not known."""
    last = trainer.max_epochs if trainer.max_steps == -1 else None
    of = f" of {last}" if last is not None and last > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{of}"


def in_words(name: str) -> str:
    """Return a logged name as text: "validation/macro_f1" becomes "validation macro f1"."""
    return name.replace("/", " ").replace("_", " ")


def _epoch_of_best(trainer: pl.Trainer) -> str:
    best = trainer.checkpoint_callback
    if isinstance(best, BestCheckpoint) and best.best_epoch is not None:
        return f" (epoch {best.best_epoch + 1})"
    return ""
