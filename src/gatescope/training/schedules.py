"""Learning-rate schedules over a whole run, whether it is limited by epochs, updates or time.

A schedule of `conf/scheduler/` with an argument `progress` is stepped after every update of the weights; any
other schedule is stepped after every epoch, and `ReduceLROnPlateau` after every validation.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from gatescope.training.lightning_internals import callbacks_of

Progress = Callable[[int], float]
"""Maps a number of updates to the completed share of training, from 0 to 1."""


def cosine(optimizer: Optimizer, progress: Progress, eta_min: float = 0.0) -> LambdaLR:
    """Lower the learning rate to `eta_min` along half a cosine (Loshchilov & Hutter 2017).

    Args:
        optimizer: Optimizer whose learning rates are changed.
        progress: Completed share of training after a number of updates.
        eta_min: Lowest learning rate.
    """

    def factor(lowest: float) -> Callable[[int], float]:
        return lambda updates: lowest + (1 - lowest) * (1 + math.cos(math.pi * progress(updates))) / 2

    return LambdaLR(optimizer, [factor(eta_min / group["lr"]) for group in optimizer.param_groups])


def training_progress(trainer: pl.Trainer) -> Progress:
    """Return a function that gives the completed share of this trainer's run, by updates or by time.

    The larger of the two shares counts. A run that early stopping ends does not reach 1.
    """
    timers = [one for one in callbacks_of(trainer) if isinstance(one, Timer)]

    @cache
    def total() -> float:
        return trainer.estimated_stepping_batches

    def progress(updates: int) -> float:
        if updates == 0:
            # Reading the total here would set up the data loader before Lightning restores its state.
            return 0.0
        shares = [updates / total()]
        for timer in timers:
            remaining = timer.time_remaining()
            if remaining is not None:
                share = timer.time_elapsed() / max(timer.time_elapsed() + remaining, 1e-9)
                # The clocks of ranks differ; their learning rates must not.
                shares.append(trainer.strategy.broadcast(share))
        return min(1.0, max(shares))

    return progress


def lr_scheduler_config(
    make_scheduler: Callable[..., Any],
    optimizer: Optimizer,
    trainer: pl.Trainer,
    monitor: str,
    direction: str,
) -> dict[str, Any]:
    """Return the "lr_scheduler" entry of Lightning's `configure_optimizers`.

    Args:
        make_scheduler: Makes the scheduler from the optimizer; a partial of the config.
        optimizer: The optimizer.
        trainer: The trainer, whose limits define the length of a schedule.
        monitor: Metric that `ReduceLROnPlateau` observes.
        direction: "max" or "min", the better direction of that metric.

    Raises:
        ValueError: `scheduler.mode` differs from the direction of the metric.
    """
    options: dict[str, Any] = {}
    target = make_scheduler.func if isinstance(make_scheduler, partial) else make_scheduler
    keywords = make_scheduler.keywords if isinstance(make_scheduler, partial) else {}
    takes_progress = "progress" in inspect.signature(target).parameters
    if takes_progress:
        options["progress"] = training_progress(trainer)
    elif inspect.isclass(target) and issubclass(target, ReduceLROnPlateau):
        if keywords.get("mode", direction) != direction:
            raise ValueError(
                f"scheduler.mode: given {keywords['mode']}, but {monitor} is better when it is "
                f"{'high' if direction == 'max' else 'low'}; remove scheduler.mode"
            )
        options["mode"] = direction
    return {
        "scheduler": make_scheduler(optimizer, **options),
        "monitor": monitor,
        "interval": "step" if takes_progress else "epoch",
        "strict": False,  # a run may end before its first validation
    }
