"""The frozen tables of a study: `reports/<study>/tables.zip`, from which its report can be drawn again.

A report needs a small part of the records. `freezing.Traced` tables note this part while a report is drawn,
`freezing.write` puts it into one file, and `FrozenSource` reads it, so that a committed report outlives its
records. The file is a ZIP archive of text files, which pandas reads:

    study.json              the study, its task, notes, options, digits, versions
    runs.jsonl              an object a run: its row of the table of runs, config, task, versions, labels
    metrics.csv             run_id, step, epoch, time, name, value
    measurements.jsonl      an object a measurement, as in the records' readings.jsonl, with run_id
    predictions/<run>.csv   as in the records, see `gatescope.tracking.predictions`
    trials.jsonl            an object a trial of a tuned study: its row of the table of trials
    texts.jsonl             an object a run: the texts of its test examples that the report shows, by id

Numbers are exact if the file then has at most `freezing.MAX_BYTES`. Otherwise logged values, measurements and
predictions have as many significant digits as fit (`digits` in study.json), at least four. Equal tables give
equal bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.analysis.record_files import NoRuns
from gatescope.analysis.record_tables import measurements_table
from gatescope.analysis.tables import METRIC_COLUMNS, TRIAL_COLUMNS, Tables, Texts
from gatescope.invocation import command
from gatescope.tracking import predictions, variants

FILE, FORMAT = "tables.zip", 1
PARTS = {"configs": "config", "tasks": "task", "versions": "versions", "pages": "page", "axes": "axes"}
"""Attributes of `Tables` by run id, and their names in runs.jsonl."""


@dataclass(frozen=True)
class FrozenSource:
    """The frozen tables of a study.

    Args:
        path: The file `tables.zip` in the folder of its report.
    """

    path: str | Path

    def tables(self) -> Tables:
        """Read the tables.

        Raises:
            NoRuns: The file does not exist or cannot be read.
        """
        archive = _read(Path(self.path))
        study = _study(self.path, archive)
        rows = [json.loads(line) for line in archive["runs.jsonl"].splitlines()]
        by_id = {row["row"]["run_id"]: row for row in rows}
        texts = {row["run_id"]: row["texts"] for row in map(json.loads, archive["texts.jsonl"].splitlines())}
        measured = map(json.loads, archive["measurements.jsonl"].splitlines())
        tables = Tables(
            study=study["study"],
            task=study["task"],
            runs=_runs(rows, study["columns"]),
            metrics=_read_metrics(archive["metrics.csv"]),
            measurements=measurements_table((row.pop("run_id"), row) for row in measured),
            **{
                part: {run_id: row[key] for run_id, row in by_id.items() if row[key] is not None}
                for part, key in PARTS.items()
            },
            identities={run_id: variants.Run(row["tags"], row["result"]) for run_id, row in by_id.items()},
            notes=tuple(study["notes"]),
            place=study["place"],
            trials=_trials(archive.get("trials.jsonl", b""), study.get("trial_columns", {})),
            read_predictions=_predictions_of(archive),
            find_texts=(lambda run_id: _texts_of(texts.get(run_id))) if study["has_texts"] else None,
        )
        return tables

    def options(self) -> dict[str, Any]:
        """Return how the report was drawn, as `write` got it.

        Raises:
            NoRuns: The file does not exist or cannot be read.
        """
        options: dict[str, Any] = _study(self.path, _read(Path(self.path)))["options"]
        return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}

    def drawn_with(self) -> dict[str, str]:
        """Return the versions of the packages that drew the report."""
        versions: dict[str, str] = _study(self.path, _read(Path(self.path)))["versions"]
        return versions


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except FileNotFoundError as error:
        raise NoRuns(
            f"{path} does not exist: `{command('report')} study={path.parent.name} freeze=true` writes it "
            "from the records"
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise NoRuns(
            f"{path} cannot be read ({error}): restore it, or write it again with freeze=true"
        ) from error


def _study(path: str | Path, archive: Mapping[str, bytes]) -> dict[str, Any]:
    study: dict[str, Any] = json.loads(archive.get("study.json", b"{}"))
    if study.get("format") != FORMAT:
        raise NoRuns(
            f"{path} has format {study.get('format')}, and this version of gatescope reads format {FORMAT}: "
            "write it again with freeze=true"
        )
    return study


def _runs(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the table of runs."""
    cells = [row["row"] for row in rows]
    table = pd.DataFrame(
        {name: pd.Series([row[name] for row in cells], dtype=dtype) for name, dtype in columns.items()}
    )
    return table.assign(command=table.command.map(tuple))


def _trials(content: bytes, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the table of trials, empty where the study was not tuned."""
    rows = [json.loads(line) for line in content.splitlines()]
    return _runs(rows, columns) if rows else pd.DataFrame(columns=TRIAL_COLUMNS)


def _read_metrics(content: bytes) -> pd.DataFrame:
    numbers = {name: float for name in ("epoch", "time", "value")}
    table = pd.read_csv(
        io.BytesIO(content), dtype={"run_id": str, "name": str, **numbers}, keep_default_na=False,
        na_values={name: ["nan"] for name in numbers}, float_precision="round_trip",
    )  # fmt: skip
    return table[METRIC_COLUMNS]


def _predictions_of(archive: Mapping[str, bytes]) -> Callable[[str], pd.DataFrame | None]:
    @lru_cache(maxsize=64)
    def read(run_id: str) -> pd.DataFrame | None:
        content = archive.get(f"predictions/{run_id}.csv")
        return None if content is None else predictions.decode(content)

    return read


def _texts_of(texts: Mapping[str, str] | None) -> Texts | None:
    return None if texts is None else lambda ids: [texts[str(i)] for i in ids]
