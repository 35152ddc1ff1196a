"""Runs that W&B holds, as the same tidy tables that `RecordSource` gives.

Each run's record is restored under a cache directory, in the format of the records on disk, and read from
there: run.json and config.yaml from the run's config, metrics.jsonl from its history (`scan_history`, every
row; `history` would sample), readings.jsonl and the predictions from the files that a run uploads at its end.
A run of which W&B has no news is not fetched again.

What differs from the records on disk: `time` is W&B's clock, a little later than ours; `directory` is the
cache's; in a config 1.0 has become 1 and what was empty is gone. For a run that was killed before it uploaded
its readings the history must do: scalars and histograms are there as recorded, points only as a histogram a
column (`<name>/<column>`), curves, heatmaps and undefined readings are not.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import wandb
import yaml
from tqdm import tqdm
from wandb.apis.public import Run

from gatescope.analysis.runs import NoRuns, RecordSource, Tables
from gatescope.tracking import predictions

log = logging.getLogger(__name__)

RECORD_KEY, READING_MARK, READINGS = "record", "_reading", "readings.jsonl"
FILES = (READINGS, *predictions.FILES)
"""As `gatescope.tracking.wandb` names them, which this package does not import: it loads torch."""

NOT_CONFIG = {RECORD_KEY, "run_dir"}
STEP = "trainer/global_step"
STAMP = "fetched.json"
"""Of a restored record: what W&B said of the run when it was fetched. Written last."""


class WandbUnreachable(NoRuns):
    """W&B does not answer as it should; the message says what was asked, and what to do."""


def default_cache() -> Path:
    """`gatescope/wandb` in the user's cache directory (XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatescope" / "wandb"


@dataclass(frozen=True)
class WandbSource:
    """The runs of one study in a W&B project.

    Args:
        project: "project", of the account's default entity, or "entity/project".
        study: the study, which is the group of its runs.
        cache: where restored records are kept.
        runs_a_page: runs that one answer of the server holds.
        rows_a_page: rows of the history that one answer holds.
    """

    project: str
    study: str
    cache: Path = field(default_factory=default_cache)
    runs_a_page: int = 50
    rows_a_page: int = 1000

    def tables(self) -> Tables:
        """
        Raises:
            WandbUnreachable: no account is configured, the project is unknown, or nobody answers.
            NoRuns: the project has no run of this study.
        """
        root = self.fetch()
        return RecordSource(root, self.study).tables()

    def fetch(self) -> Path:
        """Brings the cache up to date; returns the root under which it holds `<study>/<run id>/`."""
        # It calls each answer to the clean-up of a scan an error.
        logging.getLogger("wandb.sdk.mailbox").setLevel(logging.CRITICAL)
        try:
            api = wandb.Api()
            path = self.project if "/" in self.project else f"{api.default_entity}/{self.project}"
            found = api.runs(path, filters={"group": self.study}, per_page=self.runs_a_page, lazy=False)
            root = self.cache / quote(f"{api.settings['base_url']}/{path}", safe="")
            return self._restore(root, path, found)
        except (wandb.Error, ValueError, OSError) as error:
            raise WandbUnreachable(
                f"W&B, asked for the runs of {self.study} in {self.project}: {_one_line(error)}; "
                "check project=ENTITY/PROJECT, `wandb login` or WANDB_API_KEY, and the network"
            ) from error

    def _restore(self, root: Path, path: str, found: Iterable[Run]) -> Path:
        folder, kept = root / self.study, set()
        for run in tqdm(found, desc=f"runs of {path}", unit="run", disable=None, leave=False):
            if not isinstance(run.config.get(RECORD_KEY), dict):
                log.warning("run %s of %s was not logged by gatescope: left out", run.id, path)
                continue
            kept.add(quote(run.id, safe=""))
            restore(run, folder / quote(run.id, safe=""), self.rows_a_page)
        if not kept:
            raise NoRuns(
                f"no runs of {self.study} in {path} on W&B: log them with "
                f"`python train.py study={self.study} tracking=online`, "
                "or upload offline ones with `wandb sync`"
            )
        for directory in folder.iterdir():
            if directory.name not in kept:  # deleted on W&B
                shutil.rmtree(directory)
        return root


def restore(run: Run, directory: Path, rows_a_page: int = 1000) -> None:
    """Writes the record of one W&B run, unless it is there and W&B has no news of it."""
    news = {
        "state": run.state,
        "heartbeat": run._attrs.get("heartbeatAt"),
        "rows": run._attrs.get("historyLineCount"),
        "config": run.config,
    }
    if _read(directory / STAMP) == json.loads(json.dumps(news)):
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    rows = [row for row in run.scan_history(page_size=rows_a_page) if STEP in row]
    config = {name: value for name, value in run.config.items() if name not in NOT_CONFIG}
    _write_lines(directory / "metrics.jsonl", (_metrics(row) for row in rows if READING_MARK not in row))
    uploaded = [file for file in run.files(names=list(FILES)) if file.name in FILES]
    for file in uploaded:
        file.download(root=str(directory), replace=True).close()
    if all(file.name != READINGS for file in uploaded):
        marked = (row for row in rows if READING_MARK in row)
        _write_lines(
            directory / READINGS, (measurement for row in marked for measurement in _measurements(row))
        )
    (directory / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    record = run.config[RECORD_KEY] | {"wandb": {"id": run.id, "url": run.url}}
    summary = record.get("summary") or {}
    record["summary"] = {name: None if v is None else float(v) for name, v in summary.items()}
    (directory / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (directory / STAMP).write_text(json.dumps(news), encoding="utf-8")


def _metrics(row: dict[str, Any]) -> dict[str, Any]:
    return _at(row) | {"time": row.get("_runtime")} | {name: _finite(row[name]) for name in _logged(row)}


def _measurements(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _logged(row):
        value = row[name]
        if isinstance(value, dict) and value.get("_type") == "histogram":
            yield _at(row) | {
                "name": name, "kind": "histogram", "edges": value["bins"], "counts": value["values"],
            }  # fmt: skip
        elif isinstance(value, int | float):
            yield _at(row) | {"name": name, "kind": "scalar", "value": _finite(value)}


def _at(row: dict[str, Any]) -> dict[str, Any]:
    epoch = row.get("epoch")
    return {"step": int(row[STEP]), "epoch": None if epoch is None else int(epoch)}


def _logged(row: dict[str, Any]) -> list[str]:
    return [name for name in row if name not in (STEP, "epoch") and not name.startswith("_")]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _one_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
