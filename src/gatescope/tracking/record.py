"""The record of a run on disk, enough to read everything without W&B.

    run.json        identity, status, versions, commit, exit code and reason, summary; replaced atomically
    config.yaml     the resolved config
    metrics.jsonl   a line a call of log: {"step", "epoch", "time", "<name>": value, …}
    readings.jsonl  a line a reading: {"step", "epoch", "order", "name", "kind", …}
    predictions.csv a row an example of the test split, see `gatescope.tracking.predictions`

Lines are appended and flushed, so that a kill never costs a finished one. `order` counts the calls that wrote
rows, of both files together: readings of one look share one, calls of log have the numbers between.
Predictions are written whole, after the test: a run that is stopped before its end is tested again.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from argparse import Namespace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import FileIO
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from gatescope.instruments.measurements import Measurements, to_json
from gatescope.tracking import predictions
from gatescope.tracking.directory import RecordError, make_writable, write_atomically
from gatescope.tracking.identity import result_config, run_id, tags
from gatescope.tracking.runfile import ROWS, Status, read_rows, read_run
from gatescope.tracking.steps import CountsUpdates

log = logging.getLogger(__name__)

EARLIER = "earlier"
"""Folder of a run in which lies what an earlier try recorded and this one cannot go on from."""
PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb", "torchtext", "numpy")


class Record:
    """Writes one run's directory.

    Raises:
        RecordError: the directory cannot be created or written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started = time.monotonic()
        self.summary: dict[str, float] = {}
        self.run: dict[str, Any] = {}
        self.order = 0
        self._files: dict[str, FileIO] = {}
        make_writable(directory / "checkpoints")

    def begin(self, cfg: DictConfig) -> None:
        """Starts a fresh record of this config. What an earlier try left here is moved into `earlier/`; with
        `force=true`, the user's word, it is removed."""
        self._clear(remove=cfg.force)
        self.run, self.order = self._fresh(cfg), 0
        self._save_config(cfg)
        self.save()

    def _clear(self, remove: bool) -> None:
        names = (*ROWS, *predictions.FILES)
        rows = [path for name in names if (path := self.directory / name).exists() and path.stat().st_size]
        left = [*rows, *self.directory.glob("checkpoints/*.ckpt")]
        if not left:
            return
        if remove:
            log.info("force=true: what an earlier run recorded is removed: %s", self.directory)
            for path in left:
                path.unlink()
            return
        folders = (self.directory / EARLIER / str(number) for number in count(1))
        folder = next(folder for folder in folders if not folder.exists())
        log.warning("there is no checkpoint to go on from: what was recorded before is kept in %s", folder)
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("run.json", "config.yaml"):
            if (self.directory / name).is_file():
                shutil.copy2(self.directory / name, folder)
        for path in left:
            path.replace(folder / path.relative_to(self.directory))

    def _save_config(self, cfg: DictConfig) -> None:
        write_atomically(self.directory / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))

    def _fresh(self, cfg: DictConfig) -> dict[str, Any]:
        return self._this_process() | {
            "run_id": run_id(cfg),
            "study": cfg.study.name,
            "status": "running",
            "exit_code": None,
            "reason": None,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "ended": None,
            "seconds": None,
            "resumed": [],
            "tags": tags(cfg),
            "result_config": result_text(cfg),
            "task": {},
            "parameters": {},
            "summary": {},
        }

    def resume(self, cfg: DictConfig, step: int, position: dict[str, Any]) -> None:
        """Takes the record back to where it stood at a checkpoint, and goes on from there."""
        self.run = self._fresh(cfg) | read_run(self.directory)
        for name, length in position["files"].items():
            if (self.directory / name).exists():
                os.truncate(self.directory / name, length)
        self.order = position["order"] if "order" in position else len(calls(self.directory))
        self.started -= position["seconds"]
        before = self.run.get("git", {}).get("commit")
        self.run |= self._this_process() | {"status": "running", "exit_code": None, "reason": None}
        if before not in (None, self.run["git"]["commit"]):
            log.warning("%s was begun by another version of the source, commit %s", self.directory, before)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.run["resumed"] = [*self.run["resumed"], {"step": step, "at": now}]
        self._save_config(cfg)
        self.save()

    def position(self) -> dict[str, Any]:
        """Bytes of each file of rows and seconds so far; the rows are on the disk afterwards."""
        for file in self._files.values():
            os.fsync(file)
        paths = {name: self.directory / name for name in ROWS}
        sizes = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
        return {"files": sizes, "seconds": self.seconds(), "order": self.order}

    def seconds(self) -> float:
        """Since the start, on a clock that cannot be set; without the time between a stop and a resume."""
        return round(time.monotonic() - self.started, 3)

    @staticmethod
    def _this_process() -> dict[str, Any]:
        return {
            "command": sys.argv,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "git": git_state(),
            "versions": versions(),
        }

    def update(self, **fields: Any) -> None:
        """Sets fields of run.json."""
        self.run.update(fields)
        self.save()

    def end(self, status: Status, exit_code: int, reason: str | None = None) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self.update(
            status=status,
            exit_code=exit_code,
            reason=reason,
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=self.seconds(),
            summary=self.summary,
        )

    def save(self) -> None:
        write_atomically(
            self.directory / "run.json", json.dumps(finite(self.run), indent=2, default=str) + "\n"
        )

    def metrics(self, values: dict[str, float], step: int, epoch: int | None) -> None:
        """Appends one row; a value that is not finite is written as null (JSON has no NaN)."""
        row = {"step": step, "epoch": epoch, "time": self.seconds()}
        self._append("metrics.jsonl", [row | finite(values)])
        self.order += 1

    def measurements(self, measurements: Measurements, step: int, epoch: int) -> None:
        if not measurements:
            return
        when = {"step": step, "epoch": epoch, "order": self.order}
        self._append("readings.jsonl", [when | {"name": n, **to_json(r)} for n, r in measurements.items()])
        self.order += 1

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """All of them, or none."""
        path = self.directory / name
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        try:
            if name not in self._files:
                self._files[name] = path.open("ab", buffering=0)
            file = self._files[name]
            length = file.seek(0, os.SEEK_END)
            if file.write(lines) != len(lines):  # the disk took a part of it
                file.truncate(length)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RecordError.unwritten(path, error) from error


class NoRecord(Record):
    """Of a rank that does not own the record: it writes nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started = time.monotonic()
        self.summary, self.run, self.order, self._files = {}, {}, 0, {}

    def begin(self, cfg: DictConfig) -> None: ...

    def resume(self, cfg: DictConfig, step: int, position: dict[str, Any]) -> None: ...

    def save(self) -> None: ...

    def position(self) -> dict[str, Any]:
        return {}

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None: ...


class RecordLogger(CountsUpdates):
    """Lightning's way into the record: what `self.log` logs becomes a row of metrics.jsonl."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    @property
    def name(self) -> str:
        return "record"

    @property
    def version(self) -> str:
        return str(self.record.run.get("run_id", ""))

    @property
    def save_dir(self) -> str:
        return str(self.record.directory)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        epoch = values.pop("epoch", None)
        self.record.metrics(values, self.step_of(step), None if epoch is None else int(epoch))

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The config is already in the record, resolved."""


def calls(directory: Path) -> list[list[dict[str, Any]]]:
    """What was recorded, a list a call, in the order of the calls: one row of metrics.jsonl, or the readings
    of a look. Records of older versions do not tell the order: there, calls are sorted by their steps.
    """
    metrics, measurements = (read_rows(directory / name) for name in ROWS)
    looks = [
        list(rows)
        for _, rows in groupby(measurements, lambda row: (row.get("order"), row["step"], row.get("epoch")))
    ]
    if not all("order" in look[0] for look in looks):
        return sorted([*([row] for row in metrics), *looks], key=lambda rows: rows[0]["step"])
    ordered: list[list[dict[str, Any]]] = []
    rest = iter(metrics)
    for look in looks:
        ordered += ([row] for row in islice(rest, max(0, look[0]["order"] - len(ordered))))
        ordered.append(look)
    return [*ordered, *([row] for row in rest)]


def result_text(cfg: DictConfig) -> str:
    """What defines the result, as JSON: W&B's config keeps no empty mapping and turns 1.0 into 1."""
    return json.dumps(result_config(cfg), sort_keys=True, default=str)


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """With None for NaN and infinity, which JSON does not have; nested dicts too."""
    return {
        name: finite(v)
        if isinstance(v, dict)
        else None
        if isinstance(v, float) and not math.isfinite(v)
        else v
        for name, v in values.items()
    }


@cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("gatescope", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_state() -> dict[str, Any]:
    """Commit of the source and whether it was changed since; nulls outside a checkout."""

    def git(*arguments: str) -> str:
        source = Path(__file__).parent
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
