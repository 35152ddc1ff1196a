"""The frozen tables of a study: `reports/<study>/tables.zip`, from which its report can be drawn again.

A report needs a small part of the records. `Traced` tables note this part while a report is drawn from the
records, `write` puts it into one file, and `FrozenSource` reads it, so that a committed report outlives its
records. The file is a ZIP archive of text files, which pandas reads:

    study.json              the study, its task, notes, options, digits, versions
    runs.jsonl              an object a run: its row of the table of runs, config, task, versions, labels
    metrics.csv             run_id, step, epoch, time, name, value
    measurements.jsonl      an object a measurement, as in the records' readings.jsonl, with run_id
    predictions/<run>.csv   as in the records, see `gatescope.tracking.predictions`
    texts.jsonl             an object a run: the texts of its test examples that the report shows, by id

Numbers are exact if the file then has at most `MAX_BYTES`. Otherwise logged values, measurements and
predictions have as many significant digits as fit (`digits` in study.json), at least four. Equal tables give
equal bytes.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.analysis.record_files import NoRuns
from gatescope.analysis.record_tables import measurements_table
from gatescope.analysis.tables import METRIC_COLUMNS, Tables, Texts
from gatescope.invocation import command
from gatescope.tracking import predictions, variants

log = logging.getLogger(__name__)

FILE, FORMAT = "tables.zip", 1
MAX_BYTES = 5_000_000
"""Size of the file for which digits are given up."""
DIGITS: tuple[int | None, ...] = (None, 9, 6, 5, 4)
"""Significant digits that are tried, in this order; None: exact."""
DRAWS = ("gatescope", "matplotlib", "numpy", "pandas", "scipy", "vl-convert-python")
"""Packages whose versions are written into the file: images may differ in their bytes with other versions."""
PARTS = {"configs": "config", "tasks": "task", "versions": "versions", "pages": "page", "axes": "axes"}
"""Attributes of `Tables` by run id, and their names in runs.jsonl."""
DATE = (1980, 1, 1, 0, 0, 0)
"""Time of every file in the archive, the earliest that the format has."""
UNIX = 3
"""The system that every file in the archive says it comes from."""


@dataclass
class Used:
    """What a report has read of the tables.

    Attributes:
        metrics: Index labels of the rows of metrics.
        measurements: Index labels of the rows of measurements.
        predictions: Ids of the runs whose predictions were asked for.
        texts: By run id, the texts by the id of the example; None where they are not available.
    """

    metrics: set[int] = field(default_factory=set)
    measurements: set[int] = field(default_factory=set)
    predictions: set[str] = field(default_factory=set)
    texts: dict[str, dict[int, str] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Traced(Tables):
    """Tables that note what is read of them.

    Attributes:
        used: What has been read of these tables, and of all that were derived from them.
    """

    used: Used = field(default_factory=Used)

    @classmethod
    def of(cls, tables: Tables) -> Traced:
        """Return tables with the same content."""
        traced = cls(**vars(tables))
        find = tables.find_texts
        return traced if find is None else replace(traced, find_texts=_traced_texts(find, traced.used))

    def _with_run(self, table: pd.DataFrame) -> pd.DataFrame:
        (self.used.measurements if "payload" in table else self.used.metrics).update(table.index)
        return super()._with_run(table)

    def predictions(self, run_id: str) -> pd.DataFrame | None:
        """Return the predictions of a run; see `Tables.predictions`."""
        self.used.predictions.add(run_id)
        return super().predictions(run_id)


def _traced_texts(find: Callable[[str], Texts | None], used: Used) -> Callable[[str], Texts | None]:
    def find_texts(run_id: str) -> Texts | None:
        texts = find(run_id)
        if texts is None:
            used.texts[run_id] = None
            return None
        seen: dict[int, str] = {}
        used.texts[run_id] = seen

        def noted(ids: Iterable[int]) -> list[str]:
            ids = [int(i) for i in ids]
            found = texts(ids)
            seen.update(zip(ids, found, strict=True))
            return found

        return noted

    return find_texts


def write(path: Path, tables: Traced, options: Mapping[str, Any]) -> None:
    """Write what has been used of the tables, with as many digits as fit into `MAX_BYTES`.

    Args:
        path: The file.
        tables: The tables, after the report was drawn from them.
        options: How it was drawn, as JSON values.
    """
    for digits in DIGITS:
        content = _archive(_files(tables, options, digits))
        if len(content) <= MAX_BYTES:
            break
    else:
        log.warning("%s has %.1f MB, more than %.0f", path, len(content) / 1e6, MAX_BYTES / 1e6)
    path.write_bytes(content)


def _archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr, entry.create_system = (
                zipfile.ZIP_DEFLATED,
                0o644 << 16,
                3,
            )
            archive.writestr(entry, content, compresslevel=9)
    return packed.getvalue()


def _files(tables: Traced, options: Mapping[str, Any], digits: int | None) -> dict[str, bytes]:
    """Return the content of each file of the archive."""
    used = tables.used
    study = {
        "format": FORMAT,
        "study": tables.study,
        "task": tables.task,
        "notes": tables.notes,
        "place": tables.place,
        "options": options,
        "has_texts": tables.find_texts is not None,
        "digits": digits,
        "columns": {str(name): str(dtype) for name, dtype in tables.runs.dtypes.items()},
        "versions": {name: version(name) for name in DRAWS},
    }
    files = {
        "study.json": json.dumps(study, indent=2, ensure_ascii=False).encode() + b"\n",
        "runs.jsonl": _lines(_run_rows(tables)),
        "metrics.csv": _metrics(tables, digits),
        "measurements.jsonl": _lines(
            {"run_id": run_id} | _rounded(payload, digits)
            for run_id, payload in tables.measurements.loc[
                sorted(used.measurements), ["run_id", "payload"]
            ].itertuples(index=False)
        ),
        "texts.jsonl": _lines({"run_id": run_id, "texts": own} for run_id, own in sorted(used.texts.items())),
    }
    for run_id in sorted(used.predictions):
        if (table := Tables.predictions(tables, run_id)) is not None:
            files[f"predictions/{run_id}.csv"] = _predictions(table, digits)
    return files


def _run_rows(tables: Tables) -> Iterable[dict[str, Any]]:
    for row in tables.runs.to_dict("records"):
        run_id = row["run_id"]
        identity = tables.identities[run_id]
        yield {
            "row": {name: None if value != value else value for name, value in row.items()},
            **{key: getattr(tables, part).get(run_id) for part, key in PARTS.items()},
            "tags": identity.tags,
            "result": identity.result,
        }


def _metrics(tables: Traced, digits: int | None) -> bytes:
    """Return the used values of metrics, and the last one of each, which summaries fall back to."""
    table, by = tables.metrics, ["run_id", "name"]
    last = {*table.index[~table.duplicated(by, keep="last")]}
    known = table[table.value.notna()]
    last |= {*known.index[~known.duplicated(by, keep="last")]}
    used = table.loc[sorted(tables.used.metrics | last)]
    numbers = None if digits is None else f"%.{digits}g"
    text: str = used.to_csv(index=False, float_format=numbers, na_rep="nan", lineterminator="\n")
    return text.encode()


def _predictions(table: pd.DataFrame, digits: int | None) -> bytes:
    texts = predictions.text_columns(table)
    columns = {str(name): table[name].tolist() if name in texts else table[name].to_numpy() for name in table}
    return predictions.content(columns, min(digits or predictions.DIGITS, predictions.DIGITS))


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _rounded(value: Any, digits: int | None) -> Any:
    """Return a JSON value with its numbers rounded."""
    if digits is None:
        return value
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, list):
        return [_rounded(one, digits) for one in value]
    if isinstance(value, dict):
        return {key: _rounded(one, digits) for key, one in value.items()}
    return value


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
