"""Progress of the runs of a command: finished, running, stopped or missing, and the remaining time.

It is read from records and locks while the runs continue. Nothing is written, and torch is not imported.
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
from typing import Any, Literal, get_args

from hydra.core.config_loader import ConfigLoader

from gatescope.composition import JobConfigs, compose, grid
from gatescope.tracking.directory import is_locked
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import align_columns, primary_metric
from gatescope.tracking.runfile import CONFIG, read_config, read_run
from gatescope.tracking.sweep_checks import check_sweep
from gatescope.tracking.variants import labels_of

Status = Literal["finished", "running", "stale", "failed", "preempted", "interrupted", "missing"]
"""A run is stale if its record says running, but no process has locked it: it was killed."""

TAIL_BYTES = 8192
"""Number of bytes at the end of a file in which its last complete row is searched."""


@dataclass(frozen=True)
class Job:
    """A run of a command.

    Attributes:
        label: Its variant and conditions.
        cfg: Its config.
        directory: Its directory.
        variant: Its variant.
        condition: Its conditions.
    """

    label: str
    cfg: Mapping[str, Any]
    directory: Path
    variant: str = ""
    condition: str = ""


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes:
        job: The job.
        status: Its status.
        run: Content of its run.json.
        seconds: Its duration so far.
    """

    job: Job
    status: Status
    run: dict[str, Any]
    seconds: float


def jobs(loader: ConfigLoader, words: Sequence[str]) -> list[Job]:
    """Return the runs of `python train.py` with these arguments.

    Args:
        loader: Hydra's config loader.
        words: Arguments of the command.

    Raises:
        ConfigError: The arguments cannot be composed, or sweep over a key that cannot change a result.
    """
    sweep = compose(loader, list(words), sweep=True)
    swept = [f"{key}={values}" for key, values in (sweep.hydra.sweeper.get("params") or {}).items()]
    # Settings of Hydra itself (its launcher, its sweeper) are no part of a job.
    task, fixed = list(sweep.hydra.overrides.task), list(sweep.hydra.overrides.hydra)
    overrides = grid(loader, [*swept, *task])
    composed = JobConfigs(loader)
    configs = [composed.resolved([*fixed, *one]) for one in overrides]
    check_sweep(configs, overrides)
    by_directory = {run_dir(cfg): cfg for cfg in configs}
    labels = labels_of(list(by_directory.values()))
    return [
        Job(label.text, cfg, directory, label.variant, label.condition)
        for label, (directory, cfg) in zip(labels, by_directory.items(), strict=True)
    ]


def recorded_jobs(folder: Path) -> list[Job]:
    """Return the runs that have a record in the folder of a study, whoever started them.

    Args:
        folder: The folder of the study; one that does not exist has no runs.
    """
    configs = {path.parent: read_config(path.parent) for path in sorted(folder.glob(f"*/{CONFIG}"))}
    configs = {directory: cfg for directory, cfg in configs.items() if cfg}
    labels = labels_of(list(configs.values()))
    return [
        Job(label.text, cfg, directory, label.variant, label.condition)
        for label, (directory, cfg) in zip(labels, configs.items(), strict=True)
    ]


def read_progress(job: Job) -> Progress:
    """Return the current progress of a job."""
    run = read_run(job.directory)
    status = run.get("status", "missing")
    if status != "finished" and is_locked(job.directory):
        status = "running"
    elif status == "running":
        status = "stale"
    seconds = run.get("seconds") if status in ("finished", "failed") else None
    return Progress(job, status, run, _last_time(job.directory) if seconds is None else float(seconds))


def _last_time(directory: Path) -> float:
    """Return the time of the last row of a record, in seconds since the start of the run."""
    try:
        with (directory / "metrics.jsonl").open("rb") as file:
            file.seek(-min(TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            lines = file.read().splitlines()
    except OSError:
        return 0.0
    for line in reversed(lines):
        try:
            return float(json.loads(line)["time"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0.0


def seconds_left(progress: Sequence[Progress]) -> float | None:
    """Estimate the remaining time; None while no run is finished.

    A run is expected to take as long as finished runs of the same variant, or as all finished runs if there
    are none. As many runs as are running now are assumed to run in parallel.
    """
    durations: dict[str, list[float]] = {}
    for one in progress:
        if one.status == "finished":
            durations.setdefault(one.job.label, []).append(one.seconds)
    if not durations:
        return None
    overall = statistics.fmean(s for seconds in durations.values() for s in seconds)
    expected = {label: statistics.fmean(seconds) for label, seconds in durations.items()}
    remaining = [
        max(0.0, expected.get(one.job.label, overall) - (0.0 if one.status == "failed" else one.seconds))
        for one in progress
        if one.status != "finished"
    ]
    parallel = max(1, sum(one.status == "running" for one in progress))
    return max([sum(remaining) / parallel, *remaining], default=0.0) if remaining else 0.0


def report(progress: Sequence[Progress], others: Sequence[Progress] = ()) -> str:
    """Return a line per run, the reasons of runs that did not finish, and a summary.

    Args:
        progress: The runs that were asked for.
        others: Further runs of the study, which are listed after them and do not count in the summary.
    """
    rows = [("variant", "seed", "status", "metric", "seconds"), *map(_row, [*progress, *others])]
    lines = align_columns(rows)
    if others:
        lines.insert(1 + len(progress), "also in the folder of the study:")
    return "\n".join([*lines, *_reasons([*progress, *others]), summary(progress)])


def summary(progress: Sequence[Progress]) -> str:
    """Return the number of runs by status, and the remaining time."""
    counts = Counter(one.status for one in progress)
    by_status = ", ".join(f"{counts[status]} {status}" for status in get_args(Status) if counts[status])
    left = seconds_left(progress)
    if counts["finished"] == len(progress):
        return f"{len(progress)} runs: {by_status}"
    estimate = "unknown until a run is finished" if left is None else f"about {clock(left)}"
    return f"{len(progress)} runs: {by_status}; time left: {estimate}"


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def _row(one: Progress) -> tuple[str, ...]:
    name, value = primary_metric(one.job.cfg, one.run)
    metric = f"{name} {value:.4f}" if one.status == "finished" and value is not None else ""
    seconds = f"{one.seconds:.1f}" if one.run else ""
    return one.job.label, str(one.job.cfg["seed"]), one.status, metric, seconds


def _reasons(progress: Sequence[Progress]) -> Iterator[str]:
    """Yield a line for each run that stopped before its end."""
    for one in progress:
        prefix = f"{one.job.label}, seed {one.job.cfg['seed']}, {one.status}"
        if one.status in ("failed", "preempted", "interrupted"):
            yield f"{prefix}: {one.run.get('reason')} ({one.job.directory})"
        elif one.status == "stale":
            yield f"{prefix}: killed; the same command goes on from its last checkpoint ({one.job.directory})"
