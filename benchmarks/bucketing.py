"""Gain from batches of sequences of similar length."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl

from benchmarks.input_pipeline import OVERRIDES, epoch
from benchmarks.result import Result, Target
from benchmarks.step_overhead import CONF
from benchmarks.timing import interleaved, ratio
from gatescope.composition import compose, make_loader
from gatescope.run import build_module, load_data

QUESTION = (
    "seconds of an epoch on the tweets, bucketed by length over shuffled without buckets: loading and "
    "training in a plain loop, from the same initial weights"
)
TARGETS = {"torch": Target(at_most=0.8)}
"""The native kernel skips padding in all batches, so that there is less to gain."""


def measure(rounds: int = 5, cells: tuple[str, ...] = ("gru",), limit: int | None = None) -> Result:
    """Run the benchmark, on `limit` texts if it is given."""
    result = Result("bucketing", QUESTION, {"overrides": list(OVERRIDES), "rounds": rounds}, TARGETS)
    few = () if limit is None else (f"data.limit={limit}",)
    for cell in cells:
        for kernel in ("torch", "native"):
            add(result, cell, kernel, rounds, few)
    return result


def add(result: Result, cell: str, kernel: str, rounds: int, few: tuple[str, ...]) -> None:
    """Add the rows of a cell on a kernel: the ratio of seconds, and that of padding."""
    cfg = compose(make_loader(CONF), ["recipe=none", *OVERRIDES, f"model={cell}", f"kernel={kernel}", *few])
    pl.seed_everything(cfg.seed, verbose=False)
    data = load_data(cfg)
    module = build_module(cfg, data)
    optimizer, bucketed = module.configure_optimizers(), type(data).pool

    def run(pool: int) -> None:
        data.pool = pool
        epoch(module, optimizer, data.train_dataloader(), cfg.trainer.gradient_clip_val)

    seconds = interleaved({"bucketed": lambda: run(bucketed), "plain": lambda: run(1)}, rounds)
    result.add(cell, kernel, ratio(np.array(seconds["bucketed"]), np.array(seconds["plain"])))
    notes = data.task.notes
    saved = notes["padding_waste"] / notes["padding_waste_unbucketed"]
    result.add_value(cell, f"{kernel}, padding waste", saved)
