"""Read run.json, or rebuild it from the rest of a record. This module does not import torch.

A run.json that is missing, empty, not JSON, or whose known fields have other types is not used. The rest of a
record consists of config.yaml, metrics.jsonl, readings.jsonl and checkpoints/.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import from_json

from gatescope.moved import current_targets
from gatescope.tracking.directory import RecordError, write_atomically
from gatescope.tracking.identity import tags
from gatescope.tracking.run_schema import RunFile, Status

__all__ = [
    "ROWS",
    "ROW_KEYS",
    "Status",
    "best_value",
    "numbered_rows",
    "read_config",
    "read_rows",
    "read_run",
    "read_valid_run",
    "rebuild_run",
    "repair_run",
]

log = logging.getLogger(__name__)

NAME, BROKEN, CONFIG = "run.json", "run.json.broken", "config.yaml"
ROWS = ("metrics.jsonl", "readings.jsonl")
ROW_KEYS = ("step", "epoch", "time")
CHECKPOINTS = ("best.ckpt", "last.ckpt")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The faster loader if yaml has its C library; both are safe."""


def read_valid_run(directory: Path) -> dict[str, Any] | None:
    """Return the content of run.json; None if it is missing or invalid."""
    try:
        data = (directory / NAME).read_bytes()
        RunFile.model_validate_json(data)
    except (OSError, ValidationError):
        return None
    content: dict[str, Any] = from_json(data)
    return content


def read_run(directory: Path) -> dict[str, Any]:
    """Return the content of run.json, rebuilt if necessary; empty if the run was never started."""
    content = read_valid_run(directory)
    return rebuild_run(directory) if content is None else content


def repair_run(directory: Path) -> dict[str, Any]:
    """Return the content of run.json, and write it if it had to be rebuilt.

    An invalid file is renamed to run.json.broken. Only the process that has locked the run may call this.

    Raises:
        RecordError: The directory cannot be written.
    """
    content = read_valid_run(directory)
    if content is not None:
        return content
    path, content = directory / NAME, rebuild_run(directory)
    if path.exists():
        log.warning("%s is damaged: renamed to %s and rebuilt from the rest of the record", path, BROKEN)
        try:
            path.replace(directory / BROKEN)
        except OSError as error:
            raise RecordError.while_running(path, error) from error
    elif content:
        log.warning("%s is missing: rebuilt from the rest of the record", path)
    if content:
        write_atomically(path, json.dumps(content, indent=2, default=str) + "\n")
    return content


def rebuild_run(directory: Path) -> dict[str, Any]:
    """Return the content of run.json as far as the rest of a record determines it; empty without a record.

    A run is finished if its test was recorded and its weights exist. Task and number of parameters are
    missing (`gatescope.run.run` adds them from the data and the model), and so are versions and commit.
    """
    config, rows = read_config(directory), read_rows(directory / ROWS[0])
    weights = [name for name in CHECKPOINTS if (directory / "checkpoints" / name).exists()]
    if not (config or rows or weights):
        return {}
    tests = {n: v for row in rows for n, v in row.items() if n.startswith("test/") and _is_number(v)}
    is_finished = bool(tests) and (bool(weights) or "baseline" in _section(config, "model"))
    times = [row["time"] for row in rows if _is_number(row.get("time"))]
    return {
        "run_id": directory.name,
        "study": str(_section(config, "study").get("name") or directory.parent.name),
        "status": "finished" if is_finished else "running",
        "exit_code": 0 if is_finished else None,
        "reason": None,
        "started": _modified(directory / CONFIG),
        "ended": _modified(directory / ROWS[0]) if is_finished else None,
        "seconds": max(times, default=0.0) if is_finished else None,
        "resumed": [],
        "tags": _tags(config),
        "task": {},
        "parameters": {},
        "summary": tests | _durations(rows) | _tested_step(rows) if is_finished else {},
        "git": {"commit": None, "dirty": None},
        "rebuilt": True,
    }


def best_value(rows: Iterable[Mapping[str, Any]], name: str, direction: str) -> float:
    """Return the best value of a metric; NaN if there is none.

    Args:
        rows: Rows of metrics.jsonl.
        name: Name of the metric.
        direction: "max" or "min", the better direction.
    """
    values = [float(row[name]) for row in rows if _is_number(row.get(name))]
    return (min if direction == "min" else max)(values, default=float("nan"))


def read_config(directory: Path) -> dict[str, Any]:
    """Return the config of a run; empty if it cannot be read."""
    try:
        config = yaml.load((directory / CONFIG).read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return current_targets(config) if isinstance(config, dict) else {}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows of metrics.jsonl or readings.jsonl; incomplete lines are skipped."""
    return [row for _, row in numbered_rows(path) if row is not None]


def numbered_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the number of each line of a file of rows, from 1, and its row; None for an incomplete line.

    Empty lines are left out. A file that cannot be read has no lines.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = from_json(line)
        except ValueError:
            row = None
        yield number, row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _durations(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the number of steps and the median time of an epoch."""
    seconds = [float(row["seconds_per_epoch"]) for row in rows if _is_number(row.get("seconds_per_epoch"))]
    steps = {"steps": float(max(row["step"] for row in rows))}
    return steps | ({"seconds_per_epoch": statistics.median(seconds)} if seconds else {})


def _tested_step(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the number of updates of the tested weights, which is the step of the test's row."""
    steps = [float(row["step"]) for row in rows if any(name.startswith("test/") for name in row)]
    return {"best/step": steps[-1]} if steps else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a config; empty if it is missing or not a mapping."""
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _tags(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return tags(config)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # the config is damaged too
        return {}


def _modified(path: Path) -> str | None:
    """Return the time of the last modification; None if there is no such file."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return None
