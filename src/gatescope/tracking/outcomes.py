"""Results of runs, read from their records, and a table of many. This module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gatescope.tracking.identity import run_dir
from gatescope.tracking.runfile import ROWS, best_value, read_rows, read_run, read_valid_run
from gatescope.tracking.variants import labels_of

RUNNING_ELSEWHERE = "running in another process"
"""Return value of a job whose run another process has locked."""


class SweepFailed(RuntimeError):
    """Some runs of a sweep failed; their reasons were printed."""


def is_finished(cfg: Mapping[str, Any]) -> bool:
    """Return whether the run of a config is finished and need not be run again.

    It is False with `force=true`, if run.json has to be completed, or if W&B has not received the whole run.
    In the latter two cases `gatescope.run.run` does not train again.
    """
    run = read_valid_run(run_dir(cfg)) or {}
    uses_wandb = cfg["tracking"]["mode"] != "disabled" and "wandb" in run
    is_uploaded = not uses_wandb or run["wandb"].get("closed", True)
    is_complete = "rebuilt" not in run or bool(run.get("task"))
    return not cfg["force"] and run.get("status") == "finished" and bool(is_uploaded) and is_complete


def monitored_value(directory: Path) -> float:
    """Return the best value of the monitored metric that a run recorded; NaN if there is none."""
    run = read_run(directory)
    metric, direction = monitored(run.get("task", {}))
    recorded = run.get("summary", {}).get(f"best/validation/{metric}")
    if isinstance(recorded, int | float):
        return float(recorded)
    return best_value(read_rows(directory / ROWS[0]), f"validation/{metric}", direction)


def monitored(task: Mapping[str, Any]) -> tuple[str, str]:
    """Return name and better direction of the validation metric by which weights were chosen; "" if unknown.

    Args:
        task: `task` of a run.json. Its `monitor` is there where the metric is not that of the data.
    """
    chosen = task.get("monitor") or task
    return str(chosen.get("metric", "")), str(chosen.get("direction", ""))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def sweep_table(configs: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    """Return a table of the runs of a sweep, followed by the reasons of those that did not finish.

    Args:
        configs: Configs of the runs.
        reasons: Reasons of failures by run directory, for runs that failed before they had a record.
    """
    rows: list[tuple[str, ...]] = []
    failures: list[str] = []
    for cfg, label in zip(configs, [one.text for one in labels_of(configs)], strict=True):
        directory = run_dir(cfg)
        run = read_run(directory)
        failed_early = str(directory) in reasons and run.get("status") != "failed"
        status = "failed" if failed_early else str(run.get("status", "not run"))
        name, value = primary_metric(cfg, run)
        seconds = "" if run.get("seconds") is None else f"{run['seconds']:.1f}"
        metric = f"{name} {value:.4f}" if status == "finished" and value is not None else ""
        rows.append((label, str(cfg["seed"]), status, metric, seconds))
        reason = reasons.get(str(directory)) if failed_early else run.get("reason")
        if status not in ("finished", "not run") and reason:
            failures.append(f"{label}, seed {cfg['seed']}, {status}: {reason} ({directory})")
    return "\n".join([*align_columns([("variant", "seed", "status", "metric", "seconds"), *rows]), *failures])


def primary_metric(cfg: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return name and value on the test split of the metric that a run is judged by.

    It is the one that the study compares, else the one that the run monitors, else that of the task.

    Args:
        cfg: Config of the run.
        run: Content of its run.json.
    """
    task = run.get("task", {})
    name = cfg["study"]["primary"] or f"test/{(task.get('monitor') or task).get('metric', '')}"
    value = run.get("summary", {}).get(name)
    return str(name), float(value) if isinstance(value, int | float) else None


def align_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a line per row, with columns of equal width."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
