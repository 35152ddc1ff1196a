"""Cost of a report on many runs: seconds and peak memory of a new process from records to page."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from benchmarks.result import Result, Target
from gatescope.analysis.report import FIGURES, write_report
from gatescope.analysis.runs import RecordSource, Tables

QUESTION = (
    "a report with its page and the figures for a paper, on synthetic runs of 2,000 metric rows each. "
    "tables: processor seconds from records to tables, relative to 10; seconds: processor seconds of the "
    "report, relative to 30, and with the most runs to 60 (elapsed: by the clock); memory: peak resident "
    "set, relative to 800 MB; page: relative to 5 MB; growth: seconds per run with the most runs over those "
    "with the fewest"
)
TARGETS = {
    "tables": Target(at_most=1.0),
    "seconds": Target(at_most=1.0),
    "seconds, many": Target(at_most=1.0),
    "memory": Target(at_most=1.0),
    "page": Target(at_most=1.0),
    "growth": Target(at_most=1.2),
}
"""Memory has a target for the smallest number of runs."""
CELLS, ATTENTIONS = ("rnn", "gru", "lstm", "mingru", "minlstm"), ("none", "additive")
GATES = {"rnn": ("state",), "gru": ("update", "reset"), "mingru": ("update",)}
MEASURED_STEPS = (0, 1, 4, 16, 64, 256, 1024, 1999)
UNITS, LAGS, BINS = 64, 100, 50


def measure(
    rounds: int = 1,
    counts: tuple[int, ...] = (200, 1000),
    rows: int = 2000,
    figures: tuple[str, ...] = FIGURES,
) -> Result:
    """Run the benchmark."""
    result = Result("report_scale", QUESTION, {"rows": rows, "counts": list(counts)}, TARGETS)
    per_run: list[float] = []
    for count in counts:
        tables, seconds, elapsed, megabytes, page = in_fresh_process(count, rows, figures)
        per_run.append(seconds / count)
        has_target = count == counts[0]
        name = "tables" if has_target else "tables, many"
        result.add_value(f"{count} runs", name, tables / 10, seconds=tables)
        name, most = ("seconds", 30) if has_target else ("seconds, many", 60)
        result.add_value(f"{count} runs", name, seconds / most, seconds=seconds, elapsed=elapsed)
        name = "memory" if has_target else "memory, many"
        result.add_value(f"{count} runs", name, megabytes / 800, megabytes=megabytes)
        result.add_value(f"{count} runs", "page", page / 5, megabytes=page)
    result.add_value(f"{counts[0]} to {counts[-1]} runs", "growth", per_run[-1] / per_run[0])
    return result


def in_fresh_process(count: int, rows: int, figures: tuple[str, ...]) -> list[float]:
    """Return what `report` measures, in a new process."""
    with tempfile.TemporaryDirectory() as root:
        write_records(Path(root), count, rows, figures)
        command = [sys.executable, "-m", "benchmarks.report_scale", root]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


def write_records(root: Path, count: int, rows: int, figures: tuple[str, ...]) -> None:
    """Write the records of ten variants with `count` / 10 seeds each."""
    variants = [(cell, attention) for cell in CELLS for attention in ATTENTIONS]
    for number in range(count):
        cell, attention = variants[number % len(variants)]
        write_record(root, cell, attention, number // len(variants), rows, figures)


def write_record(
    root: Path, cell: str, attention: str, seed: int, rows: int, figures: tuple[str, ...]
) -> None:
    rng = np.random.default_rng([seed, CELLS.index(cell)])
    folder = root / "scale" / f"{cell}-{attention}-s{seed}"
    folder.mkdir(parents=True)
    tags = {
        "cell": cell,
        "attention": attention,
        "data": "none",
        "seed": seed,
        "variant": f"{cell}-{attention}",
    }
    accuracy = 0.6 + 0.02 * CELLS.index(cell) + 0.01 * float(rng.normal())
    run = {
        "run_id": folder.name,
        "status": "finished",
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 100.0 + seed,
        "command": ["train.py", "study=scale"],
        "git": {"commit": "0" * 40, "dirty": False},
        "versions": {"python": "3.11"},
        "tags": tags,
        "task": {"kind": "classification", "metric": "accuracy", "direction": "max"},
        "parameters": {"total": 60_000, "stack": 50_000, "hidden_size": UNITS},
        "summary": {"test/accuracy": accuracy, "seconds_per_epoch": 5.0},
    }
    (folder / "run.json").write_text(json.dumps(run))
    study = {
        "name": "scale",
        "question": "What does a large report cost?",
        "primary": "test/accuracy",
        "figures": list(figures),
    }
    config = {"study": study, "trainer": {"gradient_clip_val": 1.0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    _write_lines(folder / "metrics.jsonl", _metrics(rng, rows, accuracy))
    _write_lines(folder / "readings.jsonl", _measurements(rng, cell, attention))


def _metrics(rng: np.random.Generator, rows: int, accuracy: float) -> list[dict[str, float]]:
    """Return the rows of a training loss at every step, and of validation accuracy at every hundredth."""
    found: list[dict[str, float]] = []
    for step in range(rows):
        row = {"step": step, "epoch": step // 100, "time": step / 20, "train/loss": float(rng.exponential())}
        if step % 100 == 99:
            row["validation/accuracy"] = accuracy * (1 - np.exp(-(step + 1) / 400))
        found.append(row)
    return found


def _measurements(rng: np.random.Generator, cell: str, attention: str) -> list[dict[str, object]]:
    """Return the rows of measurements: gates, gradients and attention."""
    rows: list[dict[str, object]] = []
    edges = np.linspace(0, 1, BINS + 1).tolist()
    for step in MEASURED_STEPS:
        at: dict[str, object] = {"step": step, "epoch": step // 100}
        for gate in GATES.get(cell, ("input", "keep")):
            left = rng.uniform(0, 0.5, UNITS).tolist()
            points = {"kind": "points", "columns": {"right": left[::-1], "left": left}}
            rows.append(at | {"name": f"gates/layer0/{gate}/saturation"} | points)
            counts = rng.integers(0, 1000, BINS).tolist()
            histogram = {"kind": "histogram", "edges": edges, "counts": counts}
            rows.append(at | {"name": f"gates/layer0/{gate}/histogram"} | histogram)
        rate = -float(rng.uniform(0.05, 0.4))
        lag = np.arange(LAGS, dtype=float)
        curve = {"kind": "curve", "x": lag.tolist(), "y": np.exp(rate * lag).tolist()}
        rows.append(at | {"name": "gradient_flow/layer0/loss_free_curve"} | curve)
        scalars = {"gradient_flow/layer0/loss_free_decay_rate": rate}
        if attention != "none":
            scalars["attention/entropy"] = float(rng.uniform(0.5, 1))
        rows += [at | {"name": name, "kind": "scalar", "value": value} for name, value in scalars.items()]
    for step in range(50, 2000, 50):
        norms = {"before_clip": 1.0, "clipped_share": 0.5, "layer0/recurrent_weights/candidate": 0.3}
        rows += [
            {"step": step, "epoch": step // 100, "name": f"gradient_norm/{name}", "kind": "scalar"}
            | {"value": scale * float(rng.uniform(0.5, 1.5))}
            for name, scale in norms.items()
        ]
    return rows


def _write_lines(path: Path, rows: list[dict[str, float]] | list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class TimedSource:
    """A `RecordSource` that measures the processor seconds of reading the records."""

    def __init__(self, root: Path) -> None:
        self.records, self.seconds = RecordSource(root, "scale"), 0.0

    def tables(self) -> Tables:
        """Return the tables of the runs."""
        started = time.process_time()
        tables = self.records.tables()
        self.seconds = time.process_time() - started
        return tables


def report(root: Path) -> tuple[float, float, float, float, float]:
    """Write a report.

    Returns:
        Processor seconds from records to tables, processor seconds of the whole report, its seconds by the
        clock, peak memory of this process in megabytes, and size of the page in megabytes.
    """
    started, used, source = time.perf_counter(), time.process_time(), TimedSource(root)
    folder = write_report(source, root / "reports").parent
    seconds, elapsed = time.process_time() - used, time.perf_counter() - started
    page = (folder / "report.html").stat().st_size / 1e6
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return source.seconds, seconds, elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, page


if __name__ == "__main__":
    print(*report(Path(sys.argv[1])))
