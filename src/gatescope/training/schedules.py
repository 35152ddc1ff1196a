"""Learning-rate schedules over a whole run, whether it is limited by epochs, updates or time.

A schedule with an argument `progress`, such as those of this module, is stepped after every update of the
weights; any other schedule is stepped after every epoch, and `ReduceLROnPlateau` after every validation.

The learning rate of update k (from 0) is ``optimizer.lr`` times the factor at the completed share of the run,
k / (number of updates of the run), or the elapsed share of `trainer.max_time` if that is larger.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from functools import cached_property, partial
from typing import Annotated, Any

import pytorch_lightning as pl
from pydantic import Field
from pytorch_lightning.callbacks import Timer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from gatescope.training.lightning_internals import callbacks_of

log = logging.getLogger(__name__)

START = 0.01
"""Factor of the learning rate at the start of a warm-up; not 0, so that the first update is not lost."""

Warmup = Annotated[float, Field(ge=0)]
Lowest = Annotated[float, Field(ge=0)]


def cosine(optimizer: Optimizer, progress: Progress, eta_min: Lowest = 0.0, warmup: Warmup = 0) -> LambdaLR:
    """Lower the learning rate to `eta_min` along half a cosine (Loshchilov & Hutter 2017).

    Args:
        optimizer: Optimizer whose learning rates are changed.
        progress: Completed share of training after a number of updates.
        eta_min: Lowest learning rate.
        warmup: Share of training (below 1) or number of updates (from 1) in which the rate first rises.
    """
    return _decay(optimizer, progress, lambda share: (1 + math.cos(math.pi * share)) / 2, eta_min, warmup)


def linear(optimizer: Optimizer, progress: Progress, eta_min: Lowest = 0.0, warmup: Warmup = 0) -> LambdaLR:
    """Lower the learning rate to `eta_min` in a straight line.

    Args:
        optimizer: Optimizer whose learning rates are changed.
        progress: Completed share of training after a number of updates.
        eta_min: Lowest learning rate.
        warmup: Share of training (below 1) or number of updates (from 1) in which the rate first rises.
    """
    return _decay(optimizer, progress, lambda share: 1 - share, eta_min, warmup)


def constant(optimizer: Optimizer, progress: Progress, warmup: Warmup = 0) -> LambdaLR:
    """Keep the learning rate after a warm-up.

    Args:
        optimizer: Optimizer whose learning rates are changed.
        progress: Completed share of training after a number of updates.
        warmup: Share of training (below 1) or number of updates (from 1) in which the rate first rises.
    """
    return _decay(optimizer, progress, lambda share: 1.0, 0.0, warmup)


def _decay(
    optimizer: Optimizer,
    progress: Progress,
    shape: Callable[[float], float],
    eta_min: float,
    warmup: float,
) -> LambdaLR:
    """Return a scheduler with a linear warm-up and then a decay of the given shape.

    Args:
        optimizer: Optimizer whose learning rates are changed.
        progress: Completed share of training after a number of updates.
        shape: Maps the completed share of the decay to a factor that falls from 1.
        eta_min: Learning rate where the factor is 0.
        warmup: Length of the warm-up, as in `cosine`.
    """

    def factor(lowest: float) -> Callable[[int], float]:
        def at(updates: int) -> float:
            share = progress(updates)
            if updates == 1 and 1 <= warmup >= progress.total:
                message = "scheduler.warmup: given %g updates, and the run has %g: the rate rises to its end"
                log.warning(message, warmup, progress.total)
            if updates < warmup and warmup >= 1:
                return START + (1 - START) * updates / warmup
            if share < warmup < 1:
                return START + (1 - START) * share / warmup
            end = warmup if warmup < 1 else warmup / progress.total
            decayed = (share - end) / (1 - end) if share > end else 0.0
            return lowest + (1 - lowest) * shape(min(decayed, 1.0))

        return at

    return LambdaLR(optimizer, [factor(eta_min / group["lr"]) for group in optimizer.param_groups])


class Progress:
    """The completed share of a trainer's run, by updates or by time, whichever is larger.

    A run that early stopping ends does not reach 1.

    Args:
        trainer: The trainer, whose limits define the length of the run.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self.trainer = trainer
        self.timers = [one for one in callbacks_of(trainer) if isinstance(one, Timer)]

    @cached_property
    def total(self) -> float:
        """Number of updates of the run; infinity if only time limits it."""
        return float(self.trainer.estimated_stepping_batches)

    def __call__(self, updates: int) -> float:
        """Return the share, from 0 to 1, after this number of updates."""
        if updates == 0:
            # Reading the total here would set up the data loader before Lightning restores its state.
            return 0.0
        shares = [updates / self.total]
        for timer in self.timers:
            remaining = timer.time_remaining()
            if remaining is not None:
                share = timer.time_elapsed() / max(timer.time_elapsed() + remaining, 1e-9)
                # The clocks of ranks differ; their learning rates must not.
                shares.append(self.trainer.strategy.broadcast(share))
        return min(1.0, max(shares))


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
        options["progress"] = Progress(trainer)
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
