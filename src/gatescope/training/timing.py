"""Training time per epoch, without validation, instruments and checkpoints."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytorch_lightning as pl
import torch

from gatescope.training.lightning_internals import callbacks_of


class HasOverhead(Protocol):
    """A callback that measures the time that it adds to training."""

    overhead_seconds: float


@contextmanager
def add_overhead(callback: HasOverhead) -> Iterator[None]:
    """Add the duration of the block to `callback.overhead_seconds`, which `EpochTimer` subtracts.

    On a GPU, queued training work is completed first, so that it is not counted as overhead.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    started = time.perf_counter()
    try:
        yield
    finally:
        callback.overhead_seconds += time.perf_counter() - started


class EpochTimer(pl.Callback):
    """Logs `seconds_per_epoch`, the training time of each complete epoch.

    The time of validation and the `overhead_seconds` of other callbacks (instruments, checkpoints) are
    subtracted. An epoch that ends before its last batch is not counted.

    Attributes:
        seconds: Training time of each complete epoch.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep the trainer, whose callbacks measure overhead."""
        self._trainer = trainer

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of an epoch."""
        self._started, self._validation_seconds = time.perf_counter(), 0.0
        self._overhead_at_start = self._total_overhead()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of a validation."""
        if trainer.sanity_checking:
            return
        self._validation_started = time.perf_counter()
        self._overhead_at_validation = self._total_overhead()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the duration of a validation, without the overhead in it, which is subtracted elsewhere."""
        if trainer.sanity_checking:
            return
        overhead = self._total_overhead() - self._overhead_at_validation
        self._validation_seconds += time.perf_counter() - self._validation_started - overhead

    def state_dict(self) -> dict[str, Any]:
        """Return the times of complete epochs and of the current one so far."""
        return {"seconds": self.seconds, "so_far": self._training_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the times; the clock of the current epoch continues."""
        self.seconds = list(state_dict["seconds"])
        self._validation_seconds, self._overhead_at_start = 0.0, 0.0
        self._started = time.perf_counter() - state_dict["so_far"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the training time of a complete epoch."""
        if trainer.is_last_batch:
            self.seconds.append(self._training_seconds())
            pl_module.log("seconds_per_epoch", self.seconds[-1], sync_dist=True)

    def _training_seconds(self) -> float:
        """Return the training time of the current epoch so far."""
        overhead = self._total_overhead() - self._overhead_at_start
        return time.perf_counter() - self._started - self._validation_seconds - overhead

    def _total_overhead(self) -> float:
        """Return the overhead of all callbacks since the start."""
        return sum(getattr(one, "overhead_seconds", 0.0) for one in callbacks_of(self._trainer))


def epoch_seconds(trainer: pl.Trainer) -> list[float]:
    """Return the training time of each complete epoch."""
    timers = [one for one in callbacks_of(trainer) if isinstance(one, EpochTimer)]
    return [seconds for timer in timers for seconds in timer.seconds]


def seconds_per_epoch(trainer: pl.Trainer) -> float:
    """Return the median training time of complete epochs; NaN if there was none."""
    seconds = epoch_seconds(trainer)
    return statistics.median(seconds) if seconds else float("nan")
