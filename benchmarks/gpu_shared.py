"""Time of a study on a GPU: its runs one after another, and several at a time on the same card."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu_result import RESULTS, Case, GPUResult, NotAvailable, device_of, run_cases

ROOT = Path(__file__).resolve().parents[1]
QUESTION = (
    "study=first_light: seconds of the command with launcher=basic over those with launcher=joblib, whose "
    "runs share the card; imports, training, instruments, validation and test included"
)
SHORT = ("model=gru,lstm", "seed=0", "trainer.max_steps=150")
"""What fits into two minutes: 4 of 18 runs, and 150 of 663 steps of each."""
WHOLE_SECONDS = 300.0
"""Budget from which the whole study is run."""
SMALL = (
    "seed=0",
    "model=rnn,gru",
    "attention=none",
    "data.limit=200",
    "study.parameters=2000",
    "trainer.max_steps=2",
    "trainer.threads=1",
)
JOBS = 4


def measure(
    device: str = "cuda",
    seconds: float = 100.0,
    out: Path = RESULTS,
    after: int = 0,
    overrides: tuple[str, ...] | None = None,
    jobs: int | None = None,
) -> GPUResult:
    """Run the benchmark."""
    gpu = device_of(device).type == "cuda"
    if overrides is None:
        overrides = (() if seconds >= WHOLE_SECONDS else SHORT) if gpu else SMALL
    jobs = jobs or (JOBS if gpu else 2)
    overrides = ("study=first_light", f"trainer={'gpu' if gpu else 'cpu'}", "tracking=off", *overrides)
    settings = {"overrides": list(overrides), "jobs": jobs}
    # The commands have limits of their own.
    result = GPUResult(
        "gpu_shared", QUESTION, settings, device=device, seconds=seconds, longest_case=2 * seconds
    )
    cases = [
        Case("one after another", partial(one_after_another, result, overrides)),
        Case("at a time", partial(at_a_time, result, overrides, jobs)),
    ]
    return run_cases(result, cases, out, after)


def one_after_another(result: GPUResult, overrides: tuple[str, ...]) -> None:
    """Run the study with launcher=basic, and add its row."""
    runs, seconds = study(result, *overrides, "launcher=basic")
    row = {"runs": runs, "seconds": seconds, "seconds_per_run": seconds / runs}
    result.add_value("first_light", "one after another", 1.0, **row)


def at_a_time(result: GPUResult, overrides: tuple[str, ...], jobs: int) -> None:
    """Run the study with launcher=joblib, and add its row.

    Raises:
        NotAvailable: The launcher is not installed, or `one_after_another` has no row.
    """
    if find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        raise NotAvailable("pip install -c constraints.txt -e '.[parallel]' adds launcher=joblib")
    if not result.rows:
        raise NotAvailable("there is nothing to compare with")
    launcher = ("launcher=joblib", f"hydra.launcher.n_jobs={jobs}")
    runs, seconds = study(result, *overrides, *launcher)
    row = {"runs": runs, "seconds": seconds, "seconds_per_run": seconds / runs}
    name = f"one after another over {jobs} at a time"
    result.add_value("first_light", name, result.rows[0]["seconds"] / seconds, **row)


def study(result: GPUResult, *overrides: str) -> tuple[int, float]:
    """Run a study in a temporary folder and return the number of its runs and its seconds.

    Raises:
        RuntimeError: It failed, or did not end within the budget of the benchmark.
    """
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, str(ROOT / "train.py"), *overrides, f"root={root}"]
        started = time.perf_counter()
        # A session of its own, so that its workers can be ended with it.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=max(1.0, result.seconds - result.spent))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            ended = sum('"finished"' in path.read_text() for path in Path(root).rglob("run.json"))
            raise RuntimeError(f"no time was left after {ended} runs") from None
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}: {' / '.join(output.splitlines()[-3:])}")
        return len(list(Path(root).rglob("run.json"))), seconds
