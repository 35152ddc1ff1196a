"""The record of a run on disk, which is complete without W&B.

    run.json        identity, status, versions, commit, exit code and reason, summary; replaced atomically
    config.yaml     the resolved config
    metrics.jsonl   a line per call of `log`: {"step", "epoch", "time", "<name>": value, …}
    readings.jsonl  a line per measurement: {"step", "epoch", "order", "name", "kind", …}
    predictions.csv a row per example of the test split, see `gatescope.tracking.predictions`

Lines are appended and flushed, so that a killed process loses no complete line. `order` counts the calls that
wrote rows to either file: measurements of one probe share a number, and calls of `log` have the numbers in
between. Predictions are written completely after the test; a run that is stopped before is tested again.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
import socket
import sys
import time
from datetime import UTC, datetime
from io import FileIO
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gatescope.instruments.measurements import Measurements, to_json
from gatescope.tracking import predictions
from gatescope.tracking.calls import read_calls
from gatescope.tracking.directory import RecordError, ensure_writable, write_atomically
from gatescope.tracking.identity import result_config, run_id, tags
from gatescope.tracking.provenance import git_state, versions
from gatescope.tracking.runfile import ROWS, Status, read_run

log = logging.getLogger(__name__)

EARLIER = "earlier"
"""Folder in a run's directory for the records of earlier attempts that cannot be continued."""


class Record:
    """Writes the directory of one run.

    Args:
        directory: Directory of the run, which is created.

    Attributes:
        run: Content of run.json.
        summary: Final values of the run, written to run.json at its end.
        order: Number of calls that wrote rows.

    Raises:
        RecordError: The directory cannot be created or written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started = time.monotonic()
        self.summary: dict[str, float] = {}
        self.run: dict[str, Any] = {}
        self.order = 0
        self._files: dict[str, FileIO] = {}
        ensure_writable(directory / "checkpoints")

    def begin(self, cfg: DictConfig) -> None:
        """Start a new record.

        The rows and checkpoints of an earlier attempt are moved to `earlier/`, or deleted if `force=true`.
        """
        self._clear(delete=cfg.force)
        self.run, self.order = _new_run(cfg), 0
        self._save_config(cfg)
        self.save()

    def _clear(self, delete: bool) -> None:
        """Delete the files of an earlier attempt or move them to a new folder in `earlier/`."""
        names = (*ROWS, *predictions.FILES)
        rows = [path for name in names if (path := self.directory / name).exists() and path.stat().st_size]
        files = [*rows, *self.directory.glob("checkpoints/*.ckpt")]
        if not files:
            return
        if delete:
            log.info("force=true: the record of an earlier run is deleted: %s", self.directory)
            for path in files:
                path.unlink()
            return
        folders = (self.directory / EARLIER / str(number) for number in count(1))
        folder = next(folder for folder in folders if not folder.exists())
        log.warning("there is no checkpoint to continue from: the earlier record is kept in %s", folder)
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("run.json", "config.yaml"):
            if (self.directory / name).is_file():
                shutil.copy2(self.directory / name, folder)
        for path in files:
            path.replace(folder / path.relative_to(self.directory))

    def _save_config(self, cfg: DictConfig) -> None:
        write_atomically(self.directory / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))

    def resume(self, cfg: DictConfig, step: int, position: dict[str, Any]) -> None:
        """Continue the record from a checkpoint: rows that were written after it are removed.

        Args:
            cfg: Config of the run.
            step: Step of the checkpoint.
            position: Position in the record when the checkpoint was saved, see `Record.position`.
        """
        self.run = _new_run(cfg) | read_run(self.directory)
        for name, length in position["files"].items():
            if (self.directory / name).exists():
                os.truncate(self.directory / name, length)
        self.order = position["order"] if "order" in position else len(read_calls(self.directory))
        self.started -= position["seconds"]
        commit = self.run.get("git", {}).get("commit")
        self.run |= _process_fields() | {"status": "running", "exit_code": None, "reason": None}
        if commit not in (None, self.run["git"]["commit"]):
            log.warning("%s was started by another version of the source, commit %s", self.directory, commit)
        self.run["resumed"] = [*self.run["resumed"], {"step": step, "at": _now()}]
        self._save_config(cfg)
        self.save()

    def position(self) -> dict[str, Any]:
        """Flush the rows to the disk and return the sizes of their files and the time so far."""
        for file in self._files.values():
            os.fsync(file)
        paths = {name: self.directory / name for name in ROWS}
        sizes = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
        return {"files": sizes, "seconds": self.seconds(), "order": self.order}

    def seconds(self) -> float:
        """Return the duration of the run, without the time between a stop and a resume."""
        return round(time.monotonic() - self.started, 3)

    def update(self, **fields: Any) -> None:
        """Set fields of run.json."""
        self.run.update(fields)
        self.save()

    def end(self, status: Status, exit_code: int, reason: str | None = None) -> None:
        """Close the files and write the final status.

        Args:
            status: Final status.
            exit_code: Exit code of the command.
            reason: Reason of a run that did not finish.
        """
        for file in self._files.values():
            file.close()
        self._files.clear()
        self.update(
            status=status,
            exit_code=exit_code,
            reason=reason,
            ended=_now(),
            seconds=self.seconds(),
            summary=self.summary,
        )

    def save(self) -> None:
        """Write run.json."""
        text = json.dumps(nan_to_none(self.run), indent=2, default=str)
        write_atomically(self.directory / "run.json", text + "\n")

    def log_metrics(self, values: dict[str, float], step: int, epoch: int | None) -> None:
        """Append one row of metrics; NaN and infinity become null, as JSON has neither.

        Args:
            values: Values by name.
            step: Number of updates.
            epoch: Epoch, if known.
        """
        row = {"step": step, "epoch": epoch, "time": self.seconds()}
        self._append("metrics.jsonl", [row | nan_to_none(values)])
        self.order += 1

    def log_measurements(self, measurements: Measurements, step: int, epoch: int) -> None:
        """Append the rows of one probe.

        Args:
            measurements: Measurements by name.
            step: Number of updates.
            epoch: Epoch.
        """
        if not measurements:
            return
        common = {"step": step, "epoch": epoch, "order": self.order}
        rows = [common | {"name": name, **to_json(one)} for name, one in measurements.items()]
        self._append("readings.jsonl", rows)
        self.order += 1

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Append all of these rows, or none.

        Raises:
            RecordError: They cannot be written.
        """
        path = self.directory / name
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        try:
            if name not in self._files:
                self._files[name] = path.open("ab", buffering=0)
            file = self._files[name]
            length = file.seek(0, os.SEEK_END)
            if file.write(lines) != len(lines):  # the disk is full
                file.truncate(length)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RecordError.while_running(path, error) from error


class NullRecord(Record):
    """A record that writes nothing, for the ranks that do not own the run.

    Args:
        directory: Directory of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started = time.monotonic()
        self.summary, self.run, self.order, self._files = {}, {}, 0, {}

    def begin(self, cfg: DictConfig) -> None:
        """Do nothing."""

    def resume(self, cfg: DictConfig, step: int, position: dict[str, Any]) -> None:
        """Do nothing."""

    def save(self) -> None:
        """Do nothing."""

    def position(self) -> dict[str, Any]:
        """Return an empty position."""
        return {}

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Do nothing."""


def _new_run(cfg: DictConfig) -> dict[str, Any]:
    """Return the content of run.json at the start of a run."""
    return _process_fields() | {
        "run_id": run_id(cfg),
        "study": cfg.study.name,
        "status": "running",
        "exit_code": None,
        "reason": None,
        "started": _now(),
        "ended": None,
        "seconds": None,
        "resumed": [],
        "tags": tags(cfg),
        "result_config": result_json(cfg),
        "task": {},
        "parameters": {},
        "summary": {},
    }


def _process_fields() -> dict[str, Any]:
    """Return the fields of run.json that describe this process."""
    return {
        "command": sys.argv,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "git": git_state(),
        "versions": versions(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def result_json(cfg: DictConfig) -> str:
    """Return the config that defines the result, as JSON.

    W&B's own copy of a config has no empty mappings and contains 1 in the place of 1.0.
    """
    return json.dumps(result_config(cfg), sort_keys=True, default=str)


def nan_to_none(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity by None, which JSON can represent; in nested dicts too."""
    return {
        name: nan_to_none(v)
        if isinstance(v, dict)
        else None
        if isinstance(v, float) and not math.isfinite(v)
        else v
        for name, v in values.items()
    }
