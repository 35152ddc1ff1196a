"""How far the runs of a command are: which are finished, at work, stopped, missing, and the time left.

Read from records and locks alone, while the runs go on; nothing is written, and torch is not imported.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from hydra.core.config_loader import ConfigLoader

from gatescope.composition import JobConfigs, compose, grid
from gatescope.tracking.directory import is_held
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import aligned, metric_of
from gatescope.tracking.runfile import read_run
from gatescope.tracking.variants import check_sweep, labels_of

Status = Literal["finished", "running", "stale", "failed", "preempted", "interrupted", "missing"]
"""stale: its record says running, but no process is at it: it was killed."""

TAIL = 8192
"""Bytes at the end of a record in which its last whole row is looked for."""


@dataclass(frozen=True)
class Job:
    """A run that a command asks for."""

    label: str
    cfg: Mapping[str, Any]
    directory: Path


@dataclass(frozen=True)
class Progress:
    """How far a job is: `run` is its run.json, `seconds` the time it has taken up to now."""

    job: Job
    status: Status
    run: dict[str, Any]
    seconds: float


def jobs(loader: ConfigLoader, words: Sequence[str]) -> list[Job]:
    """The runs that `python train.py` with these words asks for.

    Raises:
        ConfigError: the words do not compose, or sweep over what cannot change a result.
    """
    sweep = compose(loader, list(words), sweep=True)
    swept = [f"{key}={values}" for key, values in (sweep.hydra.sweeper.get("params") or {}).items()]
    # What is said of Hydra itself (its launcher, its sweeper) is no part of a job.
    task, fixed = list(sweep.hydra.overrides.task), list(sweep.hydra.overrides.hydra)
    overrides = grid(loader, [*swept, *task])
    composed = JobConfigs(loader)
    configs = [composed.resolved([*fixed, *one]) for one in overrides]
    check_sweep(configs, overrides)
    by_directory = {run_dir(cfg): cfg for cfg in configs}
    labels = labels_of(list(by_directory.values()))
    return [
        Job(label.text, cfg, directory)
        for label, (directory, cfg) in zip(labels, by_directory.items(), strict=True)
    ]


def look(job: Job) -> Progress:
    """How far this job is now."""
    run = read_run(job.directory)
    status = run.get("status", "missing")
    if status != "finished" and is_held(job.directory):
        status = "running"
    elif status == "running":
        status = "stale"
    seconds = run.get("seconds") if status in ("finished", "failed") else None
    return Progress(job, status, run, _last_time(job.directory) if seconds is None else float(seconds))


def _last_time(directory: Path) -> float:
    """Seconds from start to the last row of the record; a resumed run counts from its checkpoint on."""
    try:
        with (directory / "metrics.jsonl").open("rb") as file:
            file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
            lines = file.read().splitlines()
    except OSError:
        return 0.0
    for line in reversed(lines):
        try:
            return float(json.loads(line)["time"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0.0


def seconds_left(found: Sequence[Progress]) -> float | None:
    """Estimated from what finished runs took, of the same variant where there are any, with as many at once
    as are running now; None while none is finished."""
    took: dict[str, list[float]] = {}
    for one in found:
        if one.status == "finished":
            took.setdefault(one.job.label, []).append(one.seconds)
    if not took:
        return None
    overall = statistics.fmean(s for seconds in took.values() for s in seconds)
    expected = {label: statistics.fmean(seconds) for label, seconds in took.items()}
    left = [
        max(0.0, expected.get(one.job.label, overall) - (0.0 if one.status == "failed" else one.seconds))
        for one in found
        if one.status != "finished"
    ]
    at_once = max(1, sum(one.status == "running" for one in found))
    return max([sum(left) / at_once, *left], default=0.0) if left else 0.0


def report(found: Sequence[Progress]) -> str:
    """A line a run, then why runs ended that did not finish, then the counts and the time left."""
    rows = [("variant", "seed", "status", "metric", "seconds"), *map(_row, found)]
    return "\n".join([*aligned(rows), *_reasons(found), summary(found)])


def summary(found: Sequence[Progress]) -> str:
    counts = Counter(one.status for one in found)
    told = ", ".join(f"{counts[status]} {status}" for status in Status.__args__ if counts[status])  # type: ignore[attr-defined]
    left = seconds_left(found)
    if counts["finished"] == len(found):
        return f"{len(found)} runs: {told}"
    estimate = "unknown until a run is finished" if left is None else f"about {_clock(left)}"
    return f"{len(found)} runs: {told}; time left: {estimate}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _row(one: Progress) -> tuple[str, ...]:
    name, value = metric_of(one.job.cfg, one.run)
    shown = f"{name} {value:.4f}" if one.status == "finished" and value is not None else ""
    return (
        one.job.label,
        str(one.job.cfg["seed"]),
        one.status,
        shown,
        f"{one.seconds:.1f}" if one.run else "",
    )


def _reasons(found: Sequence[Progress]) -> Iterator[str]:
    for one in found:
        told = f"{one.job.label}, seed {one.job.cfg['seed']}, {one.status}"
        if one.status in ("failed", "preempted", "interrupted"):
            yield f"{told}: {one.run.get('reason')} ({one.job.directory})"
        elif one.status == "stale":
            yield f"{told}: killed; the same command goes on from its last checkpoint ({one.job.directory})"
