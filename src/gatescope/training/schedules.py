"""Learning-rate schedules over a whole run, whatever limits it: epochs, updates or time.

A schedule of `conf/scheduler/` that takes an argument `progress` is stepped after every update of the
weights; any other one after every epoch, and `ReduceLROnPlateau` after every validation.
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

Progress = Callable[[int], float]
"""Share of training that is done after so many updates, from 0 to 1."""


def cosine(optimizer: Optimizer, progress: Progress, eta_min: float = 0.0) -> LambdaLR:
    """Lower the rate from the optimiser's to `eta_min` along half a cosine (Loshchilov & Hutter 2017).

    Args:
        optimizer: whose rates are changed.
        progress: share of training that is done after so many updates.
        eta_min: the lowest rate.
    """

    def factor(lowest: float) -> Callable[[int], float]:
        return lambda updates: lowest + (1 - lowest) * (1 + math.cos(math.pi * progress(updates))) / 2

    return LambdaLR(optimizer, [factor(eta_min / group["lr"]) for group in optimizer.param_groups])


def training_progress(trainer: pl.Trainer) -> Progress:
    """Return the share of this trainer's run that is done: by updates or by time, whichever is further.

    Early stopping cannot be foreseen: a run that it ends has not reached the end of its schedule.
    """
    timers = [one for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined]

    @cache
    def total() -> float:
        return trainer.estimated_stepping_batches

    def progress(updates: int) -> float:
        if updates == 0:
            # Not yet: Lightning would set up the loader, and then not give it the state of a resumed run.
            return 0.0
        shares = [updates / total()]
        for timer in timers:
            remaining = timer.time_remaining()
            if remaining is not None:
                share = timer.time_elapsed() / max(timer.time_elapsed() + remaining, 1e-9)
                # The clocks of ranks differ, their rates must not.
                shares.append(trainer.strategy.broadcast(share))
        return min(1.0, max(shares))

    return progress


def lr_scheduler_config(
    make: Callable[..., Any], optimizer: Optimizer, trainer: pl.Trainer, monitor: str, direction: str
) -> dict[str, Any]:
    """Return what Lightning's `configure_optimizers` takes as "lr_scheduler".

    Args:
        make: makes the scheduler from the optimiser, as a partial of the config.
        monitor: the metric that a `ReduceLROnPlateau` watches.
        direction: "max" or "min", which end of it is better.

    Raises:
        ValueError: the config gives a `mode` that is not the metric's direction.
    """
    options: dict[str, Any] = {}
    target = make.func if isinstance(make, partial) else make
    given = make.keywords if isinstance(make, partial) else {}
    takes_progress = "progress" in inspect.signature(target).parameters
    if takes_progress:
        options["progress"] = training_progress(trainer)
    elif inspect.isclass(target) and issubclass(target, ReduceLROnPlateau):
        if given.get("mode", direction) != direction:
            raise ValueError(
                f"scheduler.mode: given {given['mode']}, but {monitor} is better when it is "
                f"{'high' if direction == 'max' else 'low'}: leave scheduler.mode out"
            )
        options["mode"] = direction
    return {
        "scheduler": make(optimizer, **options),
        "monitor": monitor,
        "interval": "step" if takes_progress else "epoch",
        "strict": False,  # a run may end before its first validation
    }
