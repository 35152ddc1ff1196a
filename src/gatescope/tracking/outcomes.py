"""What became of runs, read from their records: is one finished, and a table of many. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gatescope.tracking.identity import run_dir
from gatescope.tracking.runfile import ROWS, best, read_rows, read_run, sound
from gatescope.tracking.variants import labels_of

UNDER_WAY = "under way"
"""What a job returns to our sweeper, in place of a metric, when another process is at its run."""


class SweepFailed(RuntimeError):
    """Some runs of a sweep failed; their reasons were told."""


def finished(cfg: Mapping[str, Any]) -> bool:
    """Whether the run of this config is done and need not be run again (`force=true` always runs).

    One whose run.json must be rebuilt, or which W&B has not got whole, is not done yet: `gatescope.run.run`
    does that, and trains nothing.
    """
    run = sound(run_dir(cfg)) or {}
    tracked = cfg["tracking"]["mode"] != "disabled" and "wandb" in run
    arrived = not tracked or run["wandb"].get("closed", True)
    described = "rebuilt" not in run or bool(run.get("task"))
    return not cfg["force"] and run.get("status") == "finished" and bool(arrived) and described


def monitored(directory: Path) -> float:
    """The task's metric on validation at its best, as a finished run recorded it; NaN where none was."""
    run = read_run(directory)
    task, summary = run.get("task", {}), run.get("summary", {})
    name = f"validation/{task.get('metric', '')}"
    kept = summary.get(f"best/{name}")
    if isinstance(kept, int | float):
        return float(kept)
    return best(read_rows(directory / ROWS[0]), name, task.get("direction", ""))


def one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def table(configs: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    """All runs of a sweep, a line each with what differs among them, and below every failure with its reason.

    `reasons`, by run directory, speak for runs whose own record does not tell (it was never begun).
    """
    rows: list[tuple[str, ...]] = []
    failures: list[str] = []
    for cfg, label in zip(configs, [own.text for own in labels_of(configs)], strict=True):
        directory = run_dir(cfg)
        run = read_run(directory)
        failed_before = str(directory) in reasons and run.get("status") != "failed"
        status = "failed" if failed_before else str(run.get("status", "not run"))
        name, value = metric_of(cfg, run)
        seconds = "" if run.get("seconds") is None else f"{run['seconds']:.1f}"
        shown = f"{name} {value:.4f}" if status == "finished" and value is not None else ""
        rows.append((label, str(cfg["seed"]), status, shown, seconds))
        reason = reasons.get(str(directory)) if failed_before else run.get("reason")
        if status not in ("finished", "not run") and reason:
            failures.append(f"{label}, seed {cfg['seed']}, {status}: {reason} ({directory})")
    return "\n".join([*aligned([("variant", "seed", "status", "metric", "seconds"), *rows]), *failures])


def metric_of(cfg: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, float | None]:
    name = cfg["study"]["primary"] or f"test/{run.get('task', {}).get('metric', '')}"
    value = run.get("summary", {}).get(name)
    return str(name), float(value) if isinstance(value, int | float) else None


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
