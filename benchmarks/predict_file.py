"""Prediction with a trained model of texts: import and load, a thousand texts, a file of a million rows."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import gatescope
from benchmarks.result import Result, Target
from benchmarks.run_cost import CONF
from gatescope.composition import compose, make_loader
from gatescope.run import run

QUESTION = (
    "load: processor seconds of a new process that imports gatescope, loads a run, predicts one text; texts: "
    "seconds of `predict` on 1,000 texts of 12 words; rows: growth in MB of the peak resident set of "
    "`gatescope predict file=… out=…` from 1,000 rows to all rows"
)
TARGETS = {
    "load, seconds": Target(at_most=2),
    "texts, seconds": Target(at_most=0.3),
    "rows, MB": Target(at_most=100),
}
WORDS = 30_000
"""Number of different words, nearly all of which are in the vocabulary."""


def measure(rounds: int = 5, rows: int = 1_000_000) -> Result:
    """Run the benchmark; `ratio` is the median in seconds, or the growth in MB."""
    result = Result("predict_file", QUESTION, {"rounds": rounds, "rows": rows, "words": WORDS}, TARGETS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        directory = train(root)
        code = f"import gatescope; gatescope.load({str(directory)!r}).predict('w1')"
        loads = [usage(code)[0] for _ in range(rounds)]
        result.add_value("gru", "load, seconds", float(np.median(loads)))
        result.add_value("gru", "texts, seconds", float(np.median(seconds_of_texts(directory, rounds))))
        (_, small), (seconds, large) = (predict_file(root, directory, count) for count in (1000, rows))
        result.add_value("gru", "rows, MB", large - small, peak=large, processor_seconds=seconds)
    return result


def train(root: Path) -> Path:
    """Return the directory of a run on 6,000 texts."""
    path = write_texts(root / "train.csv", 6000, 20)
    words = ["data=text_file", f"data.path={path}", "data.min_freq=1", f"data.max_tokens={WORDS}"]
    words += [f"root={root / 'runs'}", "trainer.max_epochs=1", "tracking=off", "instruments=off"]
    return run(compose(make_loader(CONF), ["recipe=none", *words])).directory


def write_texts(path: Path, count: int, length: int) -> Path:
    """Write texts of random words with labels."""
    rng = np.random.default_rng(count)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for i in range(count):
            table.writerow([" ".join(f"w{n}" for n in rng.integers(WORDS, size=length)), i % 2])
    return path


def seconds_of_texts(directory: Path, rounds: int) -> list[float]:
    """Return the seconds of each prediction of 1,000 texts."""
    model = gatescope.load(directory)
    rng, seconds = np.random.default_rng(0), []
    model.predict("w1")  # indexes the vocabulary
    for _ in range(rounds):
        texts = [" ".join(f"w{n}" for n in row) for row in rng.integers(WORDS, size=(1000, 12))]
        started = time.perf_counter()
        model.predict(texts)
        seconds.append(time.perf_counter() - started)
    return seconds


def predict_file(root: Path, directory: Path, count: int) -> tuple[float, float]:
    """Return the `usage` of the command on a file of this number of rows."""
    new, out = write_texts(root / "new.csv", count, 8), root / "answers.csv"
    words = [f"run={directory}", f"file={new}", f"out={out}"]
    return usage(f"from gatescope.commands.predict import main; assert main({words!r}) == 0")


def usage(code: str) -> tuple[float, float]:
    """Return the processor seconds and the peak resident set in MB of a new process that executes code."""
    # The peak in `resource.getrusage` would begin with that of this process.
    program = (
        f"{code}\nimport time\nstatus = open('/proc/self/status').read()\n"
        "print(time.process_time(), status.split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.splitlines()[-1].split()
    return float(seconds), int(peak) / 1024
