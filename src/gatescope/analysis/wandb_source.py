"""Runs on W&B, as the same tables that `RecordSource` returns.

The record of each run is written to a cache directory in the format of the records on disk, and read from
there. run.json and config.yaml come from the config of the run, metrics.jsonl from its history
(`scan_history` returns every row; `history` returns a sample), readings.jsonl and the predictions from the
files that a run uploads at its end. A run that has not changed on W&B is not downloaded again.

Differences from the records on disk: `time` is the clock of W&B, which starts a little later; `directory` is
in the cache; in configs 1.0 becomes 1 and empty values are missing. For a run that was killed before it
uploaded its measurements, these are taken from the history: scalars and histograms as recorded, points only
as one histogram per column (`<name>/<column>`); curves, heatmaps and undefined measurements are missing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import wandb
import yaml
from tqdm import tqdm
from wandb.apis.public import Run

from gatescope.analysis.runs import NoRuns, RecordSource, Tables
from gatescope.invocation import command
from gatescope.tracking import predictions

log = logging.getLogger(__name__)

RECORD_KEY, MEASUREMENT_MARK, MEASUREMENTS = "record", "_reading", "readings.jsonl"
FILES = (MEASUREMENTS, *predictions.FILES)
"""The same names as in `gatescope.tracking.wandb`, which is not imported here because it imports torch."""

NOT_CONFIG = {RECORD_KEY, "run_dir"}
STEP = "trainer/global_step"
STATE_FILE = "fetched.json"
"""File of a restored record with the state of the run on W&B when it was fetched; written last."""


class WandbUnreachable(NoRuns):
    """W&B cannot be queried; the message says what was requested and what to do."""


def default_cache() -> Path:
    """Return `gatescope/wandb` in the user's cache directory (XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatescope" / "wandb"


@dataclass(frozen=True)
class WandbSource:
    """The runs of one study in a W&B project.

    Args:
        project: "project", in the default entity of the account, or "entity/project".
        study: Name of the study, which is the group of its runs.
        cache: Directory of the restored records.
        runs_per_page: Number of runs in one response of the server.
        rows_per_page: Number of rows of the history in one response of the server.
    """

    project: str
    study: str
    cache: Path = field(default_factory=default_cache)
    runs_per_page: int = 50
    rows_per_page: int = 1000

    def tables(self) -> Tables:
        """Fetch what has changed on W&B and return the tables of the runs.

        Raises:
            WandbUnreachable: No account is configured, the project is unknown, or the server does not answer.
            NoRuns: The project has no run of this study.
        """
        tables = RecordSource(self.fetch(), self.study).tables()
        return replace(tables, place=f"W&B, project {self.project}")

    def fetch(self) -> Path:
        """Update the cache and return the folder in it that contains `<study>/<run id>/`."""
        # It logs an error for each response to the clean-up of a scan.
        logging.getLogger("wandb.sdk.mailbox").setLevel(logging.CRITICAL)
        try:
            api = wandb.Api()
            path = self.project if "/" in self.project else f"{api.default_entity}/{self.project}"
            runs = api.runs(path, filters={"group": self.study}, per_page=self.runs_per_page, lazy=False)
            root = self.cache / quote(f"{api.settings['base_url']}/{path}", safe="")
            return self._restore(root, path, runs)
        except (wandb.Error, ValueError, OSError) as error:
            raise WandbUnreachable(
                f"W&B cannot be queried for the runs of {self.study} in {self.project}: "
                f"{_first_line(error)}; check project=ENTITY/PROJECT, `wandb login` or WANDB_API_KEY, and "
                "the network"
            ) from error

    def _restore(self, root: Path, path: str, runs: Iterable[Run]) -> Path:
        """Restore the records of the runs and remove those of runs that were deleted on W&B."""
        folder, restored = root / self.study, set()
        for run in tqdm(runs, desc=f"runs of {path}", unit="run", disable=None, leave=False):
            if not isinstance(run.config.get(RECORD_KEY), dict):
                log.warning("run %s of %s was not logged by gatescope and is left out", run.id, path)
                continue
            restored.add(quote(run.id, safe=""))
            restore(run, folder / quote(run.id, safe=""), self.rows_per_page)
        if not restored:
            raise NoRuns(
                f"no runs of {self.study} in {path} on W&B: log them with "
                f"`{command('train')} study={self.study} tracking=online`, "
                "or upload offline ones with `wandb sync`"
            )
        for directory in folder.iterdir():
            if directory.name not in restored:
                shutil.rmtree(directory)
        return root


def restore(run: Run, directory: Path, rows_per_page: int = 1000) -> None:
    """Write the record of one W&B run, unless it has been written and has not changed on W&B.

    Args:
        run: The run.
        directory: Directory of the record; replaced.
        rows_per_page: Number of rows of the history in one response of the server.
    """
    state = {
        "state": run.state,
        "heartbeat": run._attrs.get("heartbeatAt"),
        "rows": run._attrs.get("historyLineCount"),
        "config": run.config,
    }
    if _read_json(directory / STATE_FILE) == json.loads(json.dumps(state)):
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    rows = [row for row in run.scan_history(page_size=rows_per_page) if STEP in row]
    config = {name: value for name, value in run.config.items() if name not in NOT_CONFIG}
    _write_lines(
        directory / "metrics.jsonl", (_metrics_row(row) for row in rows if MEASUREMENT_MARK not in row)
    )
    uploaded = [file for file in run.files(names=list(FILES)) if file.name in FILES]
    for file in uploaded:
        file.download(root=str(directory), replace=True).close()
    if all(file.name != MEASUREMENTS for file in uploaded):
        marked = (row for row in rows if MEASUREMENT_MARK in row)
        _write_lines(
            directory / MEASUREMENTS,
            (measurement for row in marked for measurement in _measurement_rows(row)),
        )
    (directory / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    record = run.config[RECORD_KEY] | {"wandb": {"id": run.id, "url": run.url}}
    summary = record.get("summary") or {}
    record["summary"] = {name: None if v is None else float(v) for name, v in summary.items()}
    (directory / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (directory / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")


def _metrics_row(row: dict[str, Any]) -> dict[str, Any]:
    values = {name: _finite_or_none(row[name]) for name in _logged_names(row)}
    return _step_and_epoch(row) | {"time": row.get("_runtime")} | values


def _measurement_rows(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _logged_names(row):
        value = row[name]
        if isinstance(value, dict) and value.get("_type") == "histogram":
            yield _step_and_epoch(row) | {
                "name": name, "kind": "histogram", "edges": value["bins"], "counts": value["values"],
            }  # fmt: skip
        elif isinstance(value, int | float):
            yield _step_and_epoch(row) | {"name": name, "kind": "scalar", "value": _finite_or_none(value)}


def _step_and_epoch(row: dict[str, Any]) -> dict[str, Any]:
    epoch = row.get("epoch")
    return {"step": int(row[STEP]), "epoch": None if epoch is None else int(epoch)}


def _logged_names(row: dict[str, Any]) -> list[str]:
    return [name for name in row if name not in (STEP, "epoch") and not name.startswith("_")]


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
