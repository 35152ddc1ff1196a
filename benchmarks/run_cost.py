"""Cost of a run apart from its training."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.result import Result, Target
from gatescope.composition import compose, make_loader
from gatescope.config import check
from gatescope.run import run

CONF = Path(__file__).resolve().parents[1] / "conf"
QUESTION = (
    "seconds of a whole run with one training step on 16 short sequences: composing and checking the config, "
    "building, offline W&B, record, default instruments, checkpoints, validation and test; without imports"
)
TARGETS = {"seconds": Target(at_most=0.5)}
TINY = (
    "data=adding",
    "data.steps=8",
    "data.train=16",
    "data.validation=16",
    "data.test=16",
    "data.batch_size=16",
    "model.hidden_size=8",
    "trainer.max_epochs=1",
    "trainer.threads=1",
    "trainer.enable_progress_bar=false",
)


def measure(rounds: int = 9) -> Result:
    """Run the benchmark.

    `ratio` is the median in seconds, and `compose` the part of it until the config has been checked.
    """
    result = Result("run_cost", QUESTION, {"overrides": list(TINY), "rounds": rounds}, TARGETS)
    seconds = np.array(
        [run_once(seed) for seed in range(rounds + 1)][1:]
    )  # the first run starts the service of W&B
    low, median, high = np.quantile(seconds[:, 1], [0.25, 0.5, 0.75])
    composed = float(np.median(seconds[:, 0]))
    result.add_value("gru", "seconds", float(median), low=low, high=high, compose=composed)
    return result


def run_once(seed: int) -> tuple[float, float]:
    """Return the seconds until the config has been checked, and of the whole run."""
    with tempfile.TemporaryDirectory() as root:
        started = time.perf_counter()
        cfg = compose(make_loader(CONF), [*TINY, f"seed={seed}", f"root={root}"])
        check(cfg)
        composed = time.perf_counter() - started
        run(cfg)
        return composed, time.perf_counter() - started
