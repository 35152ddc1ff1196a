"""Processor time of the shortest command that trains: what a run costs besides its training."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.result import Result
from benchmarks.timing import ratio

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "STARTUP_BEFORE"
"""Environment variable with a checkout of another version, which is measured as well."""
COMMAND = ("data=adding", "trainer.max_steps=5", "trainer.threads=1")
QUESTION = (
    f"processor seconds (user and system) of `python train.py {' '.join(COMMAND)}`: without the work-arounds "
    f"of gatescope.startup, or at the checkout in {BEFORE}, over this version"
)


def measure(rounds: int = 5) -> Result:
    """Run the commands in turn; the paired ratio is little affected by other work on the machine."""
    result = Result("startup", QUESTION, {"command": list(COMMAND), "rounds": rounds})
    ways = {"without work-arounds": (ROOT, "0")}
    if before := os.environ.get(BEFORE):
        ways["before"] = (Path(before), "1")
    seconds: dict[str, list[float]] = {name: [] for name in ("now", *ways)}
    for _ in range(rounds):
        for name, (checkout, work_arounds) in {"now": (ROOT, "1"), **ways}.items():
            seconds[name].append(processor_seconds(checkout, work_arounds))
    for name in ways:
        result.add("gru", name, ratio(np.array(seconds[name]), np.array(seconds["now"])))
    return result


def processor_seconds(checkout: Path, work_arounds: str) -> float:
    """Return the processor time of the command and of all processes that it starts and waits for."""
    variables = os.environ | {
        "PYTHONPATH": str(checkout / "src"),
        "GATESCOPE_WORKAROUNDS": work_arounds,
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, str(checkout / "train.py"), *COMMAND, f"root={root}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=variables)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
