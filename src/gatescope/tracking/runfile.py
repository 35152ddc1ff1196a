"""run.json: read where it can be trusted, and rebuilt from the rest of the record where not. No torch here.

A file that is missing, empty, no JSON, or whose known fields have other types says nothing. What was measured
lies in config.yaml, metrics.jsonl, readings.jsonl and checkpoints/; from these `rebuilt` tells what it can.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from gatescope.moved import current_targets
from gatescope.tracking.directory import RecordError, write_atomically
from gatescope.tracking.identity import tags

log = logging.getLogger(__name__)

NAME, BROKEN, CONFIG = "run.json", "run.json.broken", "config.yaml"
ROWS = ("metrics.jsonl", "readings.jsonl")
CHECKPOINTS = ("best.ckpt", "last.ckpt")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast one where yaml has its C library; both are safe."""
ROW_KEYS = ("step", "epoch", "time")
Status = Literal["running", "finished", "failed", "preempted", "interrupted"]


class _Part(BaseModel):
    """Further fields are welcome; those that are known have these types."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Tags(_Part):
    cell: str = ""
    attention: str = ""
    data: str = ""
    variant: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class _Task(_Part):
    kind: str = ""
    metric: str = ""
    direction: str = ""
    labels: list[Any] = []
    notes: dict[str, Any] = {}


class _Git(_Part):
    commit: str | None = None
    dirty: bool | None = None


class _Resumed(_Part):
    step: int
    at: str


class _Wandb(_Part):
    id: str | None = None
    dir: str | None = None
    url: str | None = None
    closed: bool | None = None


_Result = Annotated[float, Field(allow_inf_nan=True)]
"""A result may be what a diverging run left."""


class _RunFile(_Part):
    status: Status
    run_id: str = ""
    study: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    started: str | None = None
    ended: str | None = None
    seconds: Annotated[float, Field(ge=0, lt=1e9)] | None = None
    resumed: list[_Resumed] = []
    tags: _Tags = _Tags()
    task: _Task = _Task()
    parameters: dict[str, int | float | str | bool | None] = {}
    kernel: str | None = None
    summary: dict[str, _Result | str | bool | None] = {}
    command: list[str] = []
    host: str | None = None
    pid: int | None = None
    git: _Git = _Git()
    versions: dict[str, str] = {}
    wandb: _Wandb = _Wandb()


def sound(directory: Path) -> dict[str, Any] | None:
    """run.json as it stands; None where it is missing or cannot be trusted."""
    try:
        data = (directory / NAME).read_bytes()
        _RunFile.model_validate_json(data)
    except (OSError, ValidationError):
        return None
    found: dict[str, Any] = from_json(data)
    return found


def read_run(directory: Path) -> dict[str, Any]:
    """run.json of a run, or what the rest of its record tells; empty when the run never began."""
    found = sound(directory)
    return rebuilt(directory) if found is None else found


def mend(directory: Path) -> dict[str, Any]:
    """As `read_run`, and puts on the disk what had to be rebuilt; a bad file is kept as run.json.broken.

    Only for the process that holds the run.

    Raises:
        RecordError: the directory cannot be written.
    """
    found = sound(directory)
    if found is not None:
        return found
    path, found = directory / NAME, rebuilt(directory)
    if path.exists():
        log.warning("%s is damaged: kept as %s, and rebuilt from the rest of the record", path, BROKEN)
        try:
            path.replace(directory / BROKEN)
        except OSError as error:
            raise RecordError.unwritten(path, error) from error
    elif found:
        log.warning("%s is missing: rebuilt from the rest of the record", path)
    if found:
        write_atomically(path, json.dumps(found, indent=2, default=str) + "\n")
    return found


def rebuilt(directory: Path) -> dict[str, Any]:
    """What config, rows and checkpoints tell of a run; empty where there are none.

    A run is finished when its test is recorded and its weights are there. Task, sizes, versions and commit
    are not told: `gatescope.run.run` finds the first two again from the data.
    """
    config, rows = read_config(directory), read_rows(directory / ROWS[0])
    weights = [name for name in CHECKPOINTS if (directory / "checkpoints" / name).exists()]
    if not (config or rows or weights):
        return {}
    tests = {n: v for row in rows for n, v in row.items() if n.startswith("test/") and _is_value(v)}
    done = bool(tests) and (bool(weights) or "baseline" in _node(config, "model"))
    times = [row["time"] for row in rows if _is_value(row.get("time"))]
    return {
        "run_id": directory.name,
        "study": str(_node(config, "study").get("name") or directory.parent.name),
        "status": "finished" if done else "running",
        "exit_code": 0 if done else None,
        "reason": None,
        "started": _written(directory / CONFIG),
        "ended": _written(directory / ROWS[0]) if done else None,
        "seconds": max(times, default=0.0) if done else None,
        "resumed": [],
        "tags": _tags(config),
        "task": {},
        "parameters": {},
        "summary": tests | _durations(rows) | _tested_step(rows) if done else {},
        "git": {"commit": None, "dirty": None},
        "rebuilt": True,
    }


def best(rows: Iterable[Mapping[str, Any]], name: str, direction: str) -> float:
    """The best value of a metric in rows; NaN where there is none."""
    values = [float(row[name]) for row in rows if _is_value(row.get(name))]
    return (min if direction == "min" else max)(values, default=float("nan"))


def read_config(directory: Path) -> dict[str, Any]:
    """config.yaml of a run; empty where it cannot be read."""
    try:
        found = yaml.load((directory / CONFIG).read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return current_targets(found) if isinstance(found, dict) else {}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a file of rows; a torn one is left out."""
    return [row for _, row in numbered_rows(path) if row is not None]


def numbered_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the lines of a file of rows: the number of the line, from 1, and its row; None for a damaged one.

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
    seconds = [float(row["seconds_per_epoch"]) for row in rows if _is_value(row.get("seconds_per_epoch"))]
    found = {"steps": float(max(row["step"] for row in rows))}
    return found | ({"seconds_per_epoch": statistics.median(seconds)} if seconds else {})


def _tested_step(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The row of a test carries the number of updates that the tested weights have had."""
    steps = [float(row["step"]) for row in rows if any(name.startswith("test/") for name in row)]
    return {"best/step": steps[-1]} if steps else {}


def _is_value(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _node(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    node = config.get(name)
    return node if isinstance(node, dict) else {}


def _tags(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return tags(config)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # a config that is damaged itself
        return {}


def _written(path: Path) -> str | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return None
