"""What a report has read of its tables, and its file; `gatescope.analysis.frozen` describes and reads it."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.analysis.frozen import FORMAT, PARTS
from gatescope.analysis.tables import Tables, Texts
from gatescope.tracking import predictions

log = logging.getLogger(__name__)

MAX_BYTES = 5_000_000
"""Size of the file for which digits are given up."""
DIGITS: tuple[int | None, ...] = (None, 6, 4, 3, 2)
"""Significant digits that are tried, in this order; None: exact."""
DRAWS = ("gatescope", "matplotlib", "numpy", "pandas", "scipy", "vl-convert-python")
"""Packages whose versions are written into the file: images may differ in their bytes with other versions."""
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

    def count_texts(self) -> int:
        """Return the number of texts."""
        return sum(len(own) for own in self.texts.values() if own is not None)


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
    """Return a function that notes the texts; those that are known already are not read again."""

    def find_texts(run_id: str) -> Texts | None:
        earlier = used.texts.get(run_id)
        texts = find(run_id) if earlier is None else None
        if earlier is None and texts is None:
            used.texts[run_id] = None
            return None
        seen: dict[int, str] = earlier or {}
        used.texts[run_id] = seen

        def noted(ids: Iterable[int]) -> list[str]:
            ids = [int(i) for i in ids]
            if missing := [i for i in ids if i not in seen]:
                read = texts or find(run_id)
                assert read is not None, "the data of a run that had texts"
                seen.update(zip(missing, read(missing), strict=True))
            return [seen[i] for i in ids]

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
        "trial_columns": {str(name): str(dtype) for name, dtype in tables.trials.dtypes.items()},
        "versions": {name: version(name) for name in DRAWS},
    }
    files = {
        "study.json": json.dumps(study, indent=2, ensure_ascii=False).encode() + b"\n",
        "runs.jsonl": _lines(_run_rows(tables)),
        "trials.jsonl": _lines({"row": _cells(row)} for row in tables.trials.to_dict("records")),
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
            "row": _cells(row),
            **{key: getattr(tables, part).get(run_id) for part, key in PARTS.items()},
            "tags": identity.tags,
            "result": identity.result,
        }


def _cells(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): None if value != value else value for name, value in row.items()}


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
    """Return a JSON value with its numbers rounded, except whole ones: lags and counts stay apart."""
    if digits is None:
        return value
    if isinstance(value, float):
        if value.is_integer():
            return value
        return float(f"{value:.{digits}g}")
    if isinstance(value, list):
        return [_rounded(one, digits) for one in value]
    if isinstance(value, dict):
        return {key: _rounded(one, digits) for key, one in value.items()}
    return value
