"""Time of a sweep: eight equal jobs on one core over two, and a thousand jobs whose runs are finished."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.result import Result, Target
from benchmarks.timing import interleaved, ratio
from gatescope.composition import JobConfigs, make_loader
from gatescope.tracking.identity import run_dir

ROOT = Path(__file__).resolve().parents[1]
QUESTION = (
    "8 jobs: seconds of `train.py -m` with launcher=basic over launcher=joblib on two cores, with one thread "
    "per job; 1000 finished: seconds of a whole command all of whose runs are finished"
)
TARGETS = {"8 jobs, joblib": Target(at_least=1.3), "1000 finished, seconds": Target(at_most=10)}
JOB = (
    "data=adding",
    "data.steps=50",
    "data.train=2560",
    "data.validation=256",
    "data.test=256",
    "trainer.threads=1",
    "instruments=off",
)
RUNS = 1000


def measure(rounds: int = 3, epochs: int = 24) -> Result:
    """Run the benchmark.

    Each job trains for `epochs` epochs; with fewer, the imports of each worker would dominate.
    """
    result = Result("sweeps", QUESTION, {"job": list(JOB), "epochs": epochs, "rounds": rounds}, TARGETS)
    ways = {
        "basic": lambda: eight_jobs("launcher=basic", epochs),
        "joblib": lambda: eight_jobs("launcher=joblib", epochs, "hydra.launcher.n_jobs=2"),
    }
    seconds = interleaved(ways, rounds, warm_up=0)
    result.add("gru", "8 jobs, joblib", ratio(seconds["basic"], seconds["joblib"]))
    with tempfile.TemporaryDirectory() as root:
        write_finished_runs(Path(root))
        seconds_finished = np.array([finished_sweep(Path(root)) for _ in range(rounds)])
    low, median, high = np.quantile(seconds_finished, [0.25, 0.5, 0.75])
    result.add_value("gru", "1000 finished, seconds", float(median), low=low, high=high)
    return result


def train(*words: str) -> float:
    """Return the seconds of a command."""
    started = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words], check=True, capture_output=True)
    return time.perf_counter() - started


def eight_jobs(launcher: str, epochs: int, *more: str) -> None:
    """Run a sweep of eight jobs."""
    with tempfile.TemporaryDirectory() as root:
        words = ("-m", "seed=range(0,8)", *JOB, f"trainer.max_epochs={epochs}", launcher, *more)
        train(*words, f"root={root}")


def finished_sweep(root: Path) -> float:
    """Return the seconds of a sweep all of whose runs are finished."""
    return train("-m", f"seed=range(0,{RUNS})", f"root={root}")


def write_finished_runs(root: Path) -> None:
    """Write the records of a thousand finished runs, with the files that a sweep reads."""
    configs = JobConfigs(make_loader(ROOT / "conf"))
    run = {"status": "finished", "seconds": 1.0, "task": {"metric": "accuracy"}, "summary": {}}
    for seed in range(RUNS):
        directory = run_dir(configs.resolved([f"root={root}", f"seed={seed}"]))
        directory.mkdir(parents=True)
        (directory / "run.json").write_text(json.dumps(run))
