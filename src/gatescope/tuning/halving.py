"""Successive halving: all settings train briefly, and only the best of them train for longer.

With a factor of 3 and 16 trials, all 16 train for a ninth of the length, the best 6 for a third, and the best
2 in full. Each length is a training of its own, with its own schedule. Source: Jamieson & Talwalkar 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def shares(trials: int, factor: int) -> list[float]:
    """Return the shares of the length before the full one, in ascending order.

    Args:
        trials: Number of settings.
        factor: One in `factor` of the settings goes on.
    """
    rungs, left = 0, trials
    while left >= factor:
        rungs, left = rungs + 1, left // factor
    return [float(factor) ** -rung for rung in range(rungs, 0, -1)]


def kept(scores: Mapping[int, float | None], factor: int) -> list[int]:
    """Return the numbers of the trials that go on: one in `factor`, at least one.

    Args:
        scores: By number, larger is better; None for a trial without a result, which never goes on.
        factor: One in `factor` goes on.
    """
    finite = [number for number, score in scores.items() if score is not None]
    ranked = sorted(finite, key=lambda number: (-float(scores[number] or 0.0), number))
    return sorted(ranked[: math.ceil(len(scores) / factor)])


def shortened(cfg: Mapping[str, Any], share: float) -> list[str]:
    """Return the overrides that shorten the training of a run.

    Args:
        cfg: Config of the run.
        share: Share of its length, below 1.
    """
    trainer = cfg["trainer"]
    if trainer["max_steps"] != -1:
        return [f"trainer.max_steps={_at_least_one(trainer['max_steps'] * share)}"]
    if trainer["max_epochs"] != "auto":
        return [f"trainer.max_epochs={_at_least_one(trainer['max_epochs'] * share)}"]
    length = cfg["recipe"]["length"]
    words = [f"recipe.length.epochs={_at_least_one(length['epochs'] * share)}"]
    words.append(f"recipe.length.min_steps={math.ceil(length['min_steps'] * share)}")
    if length["max_steps"] is not None:
        words.append(f"recipe.length.max_steps={_at_least_one(length['max_steps'] * share)}")
    return words


def _at_least_one(value: float) -> int:
    return max(1, round(value))


def problem(tune: Mapping[str, Any], configs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why these trainings cannot be halved; None if they can.

    Args:
        tune: The config group `tune`.
        configs: Config of a run of each variant.
    """
    if tune["sampler"] != "random":
        return f"tune.halving: given with tune={tune['sampler']}, allowed: with tune=random"
    if tune["trials"] < tune["halving"]:
        return f"tune.halving: given {tune['halving']}, allowed: at most tune.trials, {tune['trials']}"
    least = min(shares(tune["trials"], tune["halving"]))
    for cfg in configs:
        trainer = cfg["trainer"]
        epochs = trainer["max_epochs"] if trainer["max_steps"] == -1 else -1
        if epochs == -1 and trainer["max_steps"] == -1:
            return "tune.halving: needs trainer.max_epochs or trainer.max_steps"
        if isinstance(epochs, int) and 0 < epochs * least < 1:
            return (
                f"tune.halving: the shortest training is {least:.3g} of trainer.max_epochs, {epochs}: less "
                "than an epoch; give a length in updates by trainer.max_steps"
            )
    return None
