"""Conversion of records to `Tables`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gatescope.analysis.data_variance import split_digests
from gatescope.analysis.record_files import RunRecord
from gatescope.analysis.tables import MEASUREMENT_COLUMNS, METRIC_COLUMNS, RUN_COLUMNS, TRIAL_COLUMNS, Tables
from gatescope.instruments.measurements import TESTED
from gatescope.tracking import variants
from gatescope.tracking.identity import data_name, digest, result_config
from gatescope.tracking.runfile import ROW_KEYS

log = logging.getLogger(__name__)


def build_tables(study: str, records: Sequence[RunRecord], notes: Sequence[str] = ()) -> Tables:
    """Build the tables of a study and log their notes.

    Args:
        study: Name of the study.
        records: Records of its runs, at least one. Of several runs of the same config and seed only one is
            used: a finished one if there is any, and among these the one that started last.
        notes: Notes on the reading of the records.
    """
    notes = list(notes)
    # Short trainings of successive halving are compared with nothing.
    everything = _without_superseded([one for one in records if _stage(one) != "rung"] or records, notes)
    records = [record for record in everything if _stage(record) != "trial"]
    trials = [record for record in everything if _stage(record) == "trial"]
    if not records:
        records, trials = trials, []
        notes.append("all runs are trials of a search that has not ended: each setting is a condition")
    identities = {record.run_id: _compared(record, bool(trials)) for record in everything}
    labels = variants.labels(identities, variants.REPLICATES)
    notes += _trial_notes(identities)
    runs = _runs_table(records, labels, identities)
    tried = pd.DataFrame(columns=TRIAL_COLUMNS)
    if trials:
        values = {record.run_id: _tuned_values(record) for record in everything}
        settings = _settings(values)
        runs = runs.assign(setting=runs.run_id.map(settings))
        numbers = {record.run_id: record.config["tune"]["number"] for record in trials}
        tried = _runs_table(trials, labels, identities)
        tried = tried.assign(
            number=tried.run_id.map(numbers),
            setting=tried.run_id.map(settings),
            values=[json.dumps(values[run_id]) for run_id in tried.run_id],
        )
    by_id = {record.run_id: record for record in records}
    last_first = [by_id[run_id] for run_id in runs.sort_values("started", kind="stable").run_id[::-1]]
    studies = [node for record in last_first if isinstance(node := record.config.get("study"), dict)]
    tasks = [task for record in last_first if (task := record.run.get("task") or {})]
    tables = Tables(
        study={"name": study} | next(iter(studies), {}),
        task=next(iter(tasks), {}),
        runs=runs,
        metrics=_metrics_table(records, notes),
        measurements=_measurements_table(records, notes),
        configs={run_id: by_id[run_id].config for run_id in runs.run_id},
        tasks={record.run_id: record.run.get("task") or {} for record in records},
        versions={record.run_id: record.run.get("versions") or {} for record in records},
        pages={
            record.run_id: str(url)
            for record in records
            if (url := (record.run.get("wandb") or {}).get("url"))
        },
        axes={run_id: label.conditions for run_id, label in labels.items()},
        identities=identities,
        notes=tuple(notes),
        place=records[0].directory.parent.as_posix(),
        trials=tried,
    )
    for note in notes:
        log.warning(note)
    return tables


def _stage(record: RunRecord) -> str | None:
    """Return the stage of a tuned study that a run belongs to: trial, final, or None."""
    tune = record.config.get("tune")
    return tune.get("stage") if isinstance(tune, dict) else None


def _compared(record: RunRecord, has_trials: bool) -> variants.Run:
    """Return the identity of a run without the keys that were tuned."""
    identity = _identity(record)
    stages = ("trial", "final") if has_trials else ("final",)
    return variants.Run(identity.tags, variants.compared_config(record.config, identity.result, stages))


def _tuned_values(record: RunRecord) -> dict[str, Any]:
    """Return the values of the tuned keys; empty for a run that was not tuned."""
    # The result lacks values that do what a config without the key does, such as model.embedding_std=1.0.
    values = dict(variants.leaves(record.config)) | dict(variants.leaves(_identity(record).result))
    keys = variants.tuned_keys(record.config) if _stage(record) is not None else []
    return {key: values[key] for key in keys if key in values}


def _settings(values: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the values of the tuned keys by run id as text, such as "lr=0.01, dropout=0.3"."""
    names = variants.short_names({key for own in values.values() for key in own} | {"seed"})
    return {
        run_id: ", ".join(f"{names[key]}={variants.value_text(value)}" for key, value in own.items())
        for run_id, own in values.items()
    }


def _identity(record: RunRecord) -> variants.Run:
    """Return what defines the result of the run, as recorded or, for older records, as its config has it."""
    tags = {"variant": record.run_id} | (record.run.get("tags") or {})
    if isinstance(data := record.config.get("data"), dict) and "_target_" in data:
        tags["data"] = data_name(data)
    recorded = record.run.get("result_config")
    result = json.loads(recorded) if isinstance(recorded, str) else result_config(record.config)
    return variants.Run(tags, result or {"run": record.run_id})  # without a config it equals no other run


def _without_superseded(records: Sequence[RunRecord], notes: list[str]) -> list[RunRecord]:
    """Keep one record per config and seed: finished ones first, then the one that started last."""
    current: dict[tuple[str, int, str], RunRecord] = {}
    for record in sorted(records, key=lambda record: (record.finished, record.started)):
        identity = _identity(record)
        key = (
            str(identity.tags["variant"]), int(identity.tags.get("seed", 0)), digest(identity.result)
        )  # fmt: skip
        if (older := current.get(key)) is not None:
            notes.append(
                f"run {older.run_id} ({older.run.get('status')}) in {older.directory} is superseded by "
                f"another run of the same config, {record.run_id}"
            )
        current[key] = record
    return sorted(current.values(), key=lambda record: record.directory)


def _trial_notes(identities: dict[str, variants.Run]) -> list[str]:
    return [
        f"run {run_id} was a trial (trainer.fast_dev_run={variants.value_text(value)}): it has a condition "
        "of its own"
        for run_id, identity in identities.items()
        if (value := (identity.result.get("trainer") or {}).get("fast_dev_run"))
    ]


def _runs_table(
    records: Sequence[RunRecord], labels: dict[str, variants.Label], identities: dict[str, variants.Run]
) -> pd.DataFrame:
    rows = []
    for record in records:
        label, row = labels[record.run_id], _run_row(record)
        derived = {"variant": label.variant, "condition": label.condition, "lag": _lag(record.config)}
        rows.append(row | derived | _fold(record, identities[record.run_id], row["seed"]))
    table = pd.DataFrame(rows)
    columns = RUN_COLUMNS + sorted(set(table.columns) - set(RUN_COLUMNS))
    return table[columns].sort_values(
        ["variant", "condition", "lag", "fold", "seed", "run_id"], ignore_index=True
    )


def _fold(record: RunRecord, identity: variants.Run, seed: int) -> dict[str, float]:
    """Return fold, unit and overlap of a run, see `gatescope.analysis.units`.

    Each of k folds is tested by a model of the k − 1 others: the ratio of examples is 1 / (k − 1), and so is
    the mean ratio of folds that differ in size.
    """
    data = identity.result.get("data")
    fold = data.get("fold") if isinstance(data, Mapping) else None
    # Without `folds`, `fold` is an argument of the dataset with another meaning.
    if not isinstance(data, Mapping) or data.get("folds") is None or type(fold) is not int:
        return {"fold": float("nan"), "unit": seed, "overlap": 0.0}
    notes = (record.run.get("task") or {}).get("notes") or {}
    counts = [count for count in (notes.get("folds"), data.get("folds")) if type(count) is int]
    folds = max(counts[0] if counts else fold + 1, 2)
    return {"fold": fold, "unit": fold, "overlap": 1 / (folds - 1)}


def _lag(config: dict[str, Any]) -> float:
    """Return the lag of the task in time steps, or NaN."""
    data = config.get("data") or {}
    return float(data.get("lag", data.get("steps", "nan")))


def _run_row(record: RunRecord) -> dict[str, Any]:
    run = record.run
    tags, parameters, git = (run.get(key) or {} for key in ("tags", "parameters", "git"))
    summary = {
        name: float("nan") if value is None else value
        for name, value in (run.get("summary") or {}).items()
        if value is None or isinstance(value, int | float)
    }
    return (
        summary
        | split_digests(run)
        | {
            "run_id": record.run_id,
            "cell": str(tags.get("cell", "")),
            "attention": str(tags.get("attention", "")),
            "data": str(tags.get("data", "")),
            "seed": int(tags.get("seed", 0)),
            "status": run.get("status", "unknown"),
            "reason": run.get("reason"),
            "started": record.started,
            "seconds": run.get("seconds"),
            "parameters": parameters.get("total"),
            "between_parameters": parameters.get("between"),
            "stack_parameters": parameters.get("stack"),
            "hidden_size": parameters.get("hidden_size"),
            "commit": git.get("commit"),
            "dirty": git.get("dirty"),
            "command": tuple(str(word) for word in run.get("command") or ()),
            "directory": str(record.directory),
        }
    )


def _metrics_table(records: Sequence[RunRecord], notes: list[str]) -> pd.DataFrame:
    rows = [
        (record.run_id, row["step"], row.get("epoch"), row.get("time"), name, value)
        for record in records
        for row in record.rows("metrics.jsonl", notes)
        for name, value in row.items()
        if name not in ROW_KEYS and (value is None or isinstance(value, int | float))
    ]
    table = _last_of_each_step(pd.DataFrame(rows, columns=METRIC_COLUMNS))
    return table.astype({"epoch": float, "time": float, "value": float})


def _measurements_table(records: Sequence[RunRecord], notes: list[str]) -> pd.DataFrame:
    rows = ((record.run_id, row) for record in records for row in record.rows("readings.jsonl", notes))
    return _last_of_each_step(measurements_table(rows))


def measurements_table(rows: Iterable[tuple[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return the table of measurements, `MEASUREMENT_COLUMNS`.

    Args:
        rows: Run id, and a line of the run's readings.jsonl.
    """
    cells = [
        (
            run_id,
            row["step"],
            row.get("epoch"),
            str(row["name"]).removeprefix(TESTED),
            row.get("kind"),
            row.get("value") if row.get("kind") == "scalar" else None,
            row,
            str(row["name"]).startswith(TESTED),
        )
        for run_id, row in rows
        if "name" in row
    ]
    table = pd.DataFrame(cells, columns=MEASUREMENT_COLUMNS)
    return table.astype({"epoch": float, "value": float, "name": str, "tested": bool})


def _last_of_each_step(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the last value of a name at a step: steps that a resumed run repeated are recorded twice."""
    key = [name for name in ("run_id", "name", "step", "tested") if name in table]
    return table.drop_duplicates(key, keep="last").reset_index(drop=True)
