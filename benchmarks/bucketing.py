"""What batches of like length are worth."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl

from benchmarks.input_pipeline import OVERRIDES, epoch
from benchmarks.result import Bar, Result
from benchmarks.step_overhead import CONF
from benchmarks.timing import interleaved, ratio
from gatescope.composition import compose, make_loader
from gatescope.run import build_module, load_data

QUESTION = (
    "seconds of an epoch on the tweets, bucketed by length over batches as a plain shuffle has them: loading "
    "and training in a bare loop, from the same weights on"
)
BARS = {"seconds": Bar(at_most=0.8)}


def measure(rounds: int = 5, cells: tuple[str, ...] = ("gru",), limit: int | None = None) -> Result:
    """`limit`: train on so many texts alone."""
    result = Result("bucketing", QUESTION, {"overrides": list(OVERRIDES), "rounds": rounds}, BARS)
    for cell in cells:
        few = [] if limit is None else [f"data.limit={limit}"]
        cfg = compose(make_loader(CONF), [*OVERRIDES, f"model={cell}", *few])
        pl.seed_everything(cfg.seed, verbose=False)
        data = load_data(cfg)
        module = build_module(cfg, data)
        optimizer, bucketed = module.configure_optimizers(), type(data).pool

        def run(pool: int) -> None:
            data.pool = pool  # noqa: B023  called within this turn of the loop
            epoch(module, optimizer, data.train_dataloader(), cfg.trainer.gradient_clip_val)  # noqa: B023

        ways = {"bucketed": lambda: run(bucketed), "plain": lambda: run(1)}  # noqa: B023
        seconds = interleaved(ways, rounds)
        result.add(cell, "seconds", ratio(np.array(seconds["bucketed"]), np.array(seconds["plain"])))
        result.add_value(
            cell,
            "padding waste",
            data.task.notes["padding_waste"] / data.task.notes["padding_waste_unbucketed"],
        )
    return result
