"""Run many small jobs in one process, or under joblib, and report memory, file descriptors and threads.

    python scripts/soak.py [jobs=200] [joblib=2]

Each job trains a model in a second. What the first tenth of the jobs uses (imports, caches) is the start that
the end is compared with: growth beyond 5 % fails. The figures are written to benchmarks/results/soak.json.
Exit code: 0 no growth, 1 growth, 2 wrong arguments.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from hydra import compose, initialize_config_dir
from joblib import Parallel, delayed

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.result import Result, Target  # noqa: E402  (of the checkout, which is no package that is installed)

from gatescope.run import run  # noqa: E402

MEASURES = {"resident memory (MiB)": 1.05, "file descriptors": 1.05, "threads": 1.05}
SIZES = (
    "data=adding",
    "data.steps=8",
    "data.train=64",
    "data.validation=32",
    "data.test=32",
    "data.batch_size=16",
)
SETTINGS = (
    "model.hidden_size=6", "trainer.max_epochs=1", "trainer.threads=1", "trainer.enable_progress_bar=false",
)  # fmt: skip
USAGE = 2


def usage() -> dict[str, float]:
    """Return what this process uses now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "resident memory (MiB)": int(status["VmRSS"].split()[0]) / 1024,
        "file descriptors": len(os.listdir("/proc/self/fd")),
        "threads": float(status["Threads"]),
    }


def job(seed: int, root: str, track: str) -> dict[str, float]:
    """Train one run, and return what its process uses afterwards."""
    logging.disable(logging.INFO)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [f"root={root}", f"seed={seed}", f"tracking={track}", *SIZES, *SETTINGS])
    result = run(cfg)
    shutil.rmtree(result.directory)
    return usage() | {"pid": os.getpid()}


def measure(jobs: int = 200, workers: int = 2) -> Result:
    """Return the figures of `jobs` jobs in one process, without and with W&B, and in `workers` of joblib."""
    result = Result(
        "soak", "do many jobs leave memory, file descriptors or threads behind?",
        {"jobs": jobs, "workers": workers}, {name: Target(at_most=most) for name, most in MEASURES.items()},
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gatescope-soak-") as root:
        started = time.perf_counter()
        for track in ("off", "offline"):
            _add(
                result, f"one process, tracking={track}", [job(i, root, track) for i in range(jobs)], started
            )
        started = time.perf_counter()
        rows = Parallel(n_jobs=workers)(delayed(job)(i, root, "off") for i in range(jobs))
        for number, own in enumerate(_by_process(rows), 1):
            _add(result, f"joblib, worker {number}", own, started)
    result.settings = {**result.settings, "threads of Python at the end": threading.active_count()}
    return result


def _by_process(rows: list[dict[str, float]]) -> Iterator[list[dict[str, float]]]:
    for pid in sorted({row["pid"] for row in rows}):
        yield [row for row in rows if row["pid"] == pid]


def _add(result: Result, case: str, rows: list[dict[str, float]], started: float) -> None:
    """Add the medians of a tenth of the jobs, after the first tenth and at the end."""
    tenth = max(1, len(rows) // 10)
    first, last = rows[tenth : 2 * tenth] or rows[:1], rows[-tenth:]
    for name in MEASURES:
        start, end = (median(row[name] for row in part) for part in (first, last))
        seconds = time.perf_counter() - started
        result.add_value(case, name, end / start, start=start, end=end, jobs=len(rows), seconds=seconds)


def main(arguments: list[str]) -> int:
    """Run the jobs, print and write the figures, and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    given = dict(word.partition("=")[::2] for word in arguments)
    if set(given) - {"jobs", "joblib"} or not all(value.isdigit() and int(value) for value in given.values()):
        print(__doc__, file=sys.stderr)
        return USAGE
    result = measure(int(given.get("jobs", 200)), int(given.get("joblib", 2)))
    print(result.table())
    print(result.write(ROOT / "benchmarks" / "results"))
    return int(not all(row["met"] for row in result.rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
