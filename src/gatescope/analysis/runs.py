"""Sources of runs, and the tidy tables that all statistics, figures and reports start from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import yaml

from gatescope.instruments.measurements import TESTED
from gatescope.moved import current_targets
from gatescope.tracking import predictions, variants
from gatescope.tracking.identity import data_name, digest, result_config
from gatescope.tracking.runfile import ROW_KEYS, rebuilt, sound

log = logging.getLogger(__name__)

RUN_COLUMNS = [
    "run_id", "variant", "cell", "attention", "data", "condition", "lag", "seed", "status", "reason",
    "started", "seconds", "parameters", "between_parameters", "stack_parameters", "hidden_size", "commit",
    "dirty", "command", "directory",
]  # fmt: skip
METRIC_COLUMNS = ["run_id", "step", "epoch", "time", "name", "value"]
READING_COLUMNS = ["run_id", "step", "epoch", "name", "kind", "value", "payload", "tested"]
RECORD = ("run.json", "metrics.jsonl", "config.yaml")
"""Files of a record, of which one suffices to know that there is a run."""


class NoRuns(Exception):
    """There is nothing to report; the message says where was looked and what to do."""


@dataclass(frozen=True)
class Tables:
    """One study's runs, tidy.

    Attributes:
        study: the `study:` node of the runs' config (name, question, primary, direction, baseline, ...).
        task: the `task` of the run that started last (kind, metric, direction, labels, notes).
        runs: a row a run, `RUN_COLUMNS` and a column per summary value (`test/accuracy`, ...). `variant` and
            `condition` are those of `gatescope.tracking.variants`: the condition names all else that differs
            within the study ("lag=50, lr=0.01"), "" where nothing does; `lag` is the task's own, in steps,
            NaN where it has none.
        metrics: a row a logged value, `METRIC_COLUMNS`; a value that was not finite is NaN.
        readings: a row a reading, `READING_COLUMNS`; `value` for scalars, `payload` (the object) for all;
            `tested` whether it is of the weights that the test measured, else it is of those during training.
        configs: the resolved config by run_id.
        tasks: the `task` by run_id, where the runs of a study are on data of several kinds.
        versions: package versions by run_id.
        pages: the address of its page on W&B by run_id, where it has one.
        axes: by run_id the parts of its condition, `key=value` by the full name of the key.
        identities: by run_id what the labels were made of.
        notes: what a reader must know about the records (torn lines, superseded runs, ...).
    """

    study: dict[str, Any]
    task: dict[str, Any]
    runs: pd.DataFrame
    metrics: pd.DataFrame
    measurements: pd.DataFrame
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    axes: dict[str, dict[str, str]] = field(default_factory=dict)
    identities: dict[str, variants.Run] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def finished(self) -> Tables:
        """The same tables with the finished runs only: what a comparison may use."""
        return self.restricted_to(self.runs[self.runs.status == "finished"])

    def restricted_to(self, runs: pd.DataFrame) -> Tables:
        """The same tables with these runs only; `runs` may have other values in its columns."""
        kept = set(runs.run_id)
        return replace(
            self,
            runs=runs,
            metrics=self.metrics[self.metrics.run_id.isin(kept)],
            measurements=self.measurements[self.measurements.run_id.isin(kept)],
        )

    def metric(self, name: str) -> pd.DataFrame:
        """Every logged value of one metric with the run's variant, condition and seed."""
        return self._with_run(self.metrics[self.metrics.name == name])

    def measurement(self, name: str) -> pd.DataFrame:
        """Every reading during training whose name matches the regular expression `name`, with variant,
        condition, seed."""
        return self._with_run(
            self.measurements[self.measurements.name.str.fullmatch(name) & ~self.measurements.tested]
        )

    def with_tested(self, name: str) -> pd.DataFrame:
        """As `reading`, and those of the tested weights."""
        return self._with_run(self.measurements[self.measurements.name.str.fullmatch(name)])

    def of_tested(self, name: str) -> pd.DataFrame:
        """As `reading`, of the tested weights: a row a run and name; of a run without any, its last."""
        table = self.with_tested(name).sort_values(["tested", "step"], kind="stable")
        return table.drop_duplicates(["run_id", "name"], keep="last")

    def final(self, name: str) -> pd.DataFrame:
        """One value a run: the summary's, else the last logged: variant, condition, seed, value."""
        logged = self.metrics[self.metrics.name == name].groupby("run_id").value.last()
        value = self.runs.run_id.map(logged)
        if name in self.runs:
            value = pd.to_numeric(self.runs[name]).fillna(value)
        return self.runs[["run_id", "variant", "condition", "seed"]].assign(value=value.astype(float))

    def predictions(self, run_id: str) -> pd.DataFrame | None:
        """What a run predicted of its test split, as `gatescope.tracking.predictions` describes it; None
        where its record has no such file, or one that cannot be read. Not to be changed in place."""
        directory = self.runs.directory[self.runs.run_id == run_id]
        return _read_predictions(Path(directory.iloc[0])) if len(directory) else None

    def _with_run(self, table: pd.DataFrame) -> pd.DataFrame:
        columns = ["run_id", "variant", "cell", "attention", "condition", "seed"]
        return table.merge(self.runs[columns], on="run_id", how="inner")


class Source(Protocol):
    """Where tables come from."""

    def tables(self) -> Tables: ...


@dataclass(frozen=True)
class RecordSource:
    """The records on disk: `<root>/<study>/<run_id>/` with run.json, config.yaml and the two .jsonl files.

    Lines that a kill has torn are skipped with a warning that gives file and line. Steps that were replayed
    after a resume stand twice: the last is kept. Of runs of one and the same config, seed included, the one
    that finished last counts; runs that differ in anything that defines a result all count.
    """

    root: str | Path
    study: str

    def tables(self) -> Tables:
        """
        Raises:
            NoRuns: there is no run of this study under `root`.
        """
        folder = Path(self.root) / self.study
        notes: list[str] = []
        found = [(path.parent, run) for path, run in _read_runs(folder, notes)]
        if not found:
            raise NoRuns(
                f"no runs in {folder}: start them with `python train.py study={self.study}`, "
                "or name another place with root=/path (or the environment variable RUNS_DIR)"
            )
        return _tables(self.study, found, notes)


@dataclass(frozen=True)
class RunSource:
    """One run by its directory, whatever became of others of its study."""

    directory: str | Path

    def tables(self) -> Tables:
        """
        Raises:
            NoRuns: the directory holds no readable run.json.
        """
        directory, notes = Path(self.directory), list[str]()
        found = [(directory, run) for _, run in _read_runs(directory.parent, notes, escape(directory.name))]
        if not found:
            raise NoRuns("; ".join(notes) or f"no run.json in {directory}")
        return _tables(str(found[0][1].get("study") or directory.parent.name), found, notes)


def _tables(study: str, found: list[tuple[Path, dict[str, Any]]], notes: list[str]) -> Tables:
    read = [(directory, run, _read_config(directory, notes)) for directory, run in found]
    read = _newest(read, notes)
    current = [(directory, run) for directory, run, _ in read]
    configs = {run["run_id"]: config for _, run, config in read}
    identities = {run["run_id"]: _identity(run, config) for _, run, config in read}
    labels = variants.labels(identities)
    notes += _trials(identities)
    runs = _runs_table(current, configs, labels)
    last_first = list(runs.sort_values("started", kind="stable").run_id[::-1])
    studies = [node for run_id in last_first if isinstance(node := configs[run_id].get("study"), dict)]
    tasks = {run["run_id"]: run.get("task") or {} for _, run in current}
    tables = Tables(
        study={"name": study} | next(iter(studies), {}),
        task=next((tasks[run_id] for run_id in last_first if tasks[run_id]), {}),
        runs=runs,
        metrics=_metrics_table(current, notes),
        measurements=_measurements_table(current, notes),
        configs={run_id: configs[run_id] for run_id in runs.run_id},
        tasks=tasks,
        versions={run["run_id"]: run.get("versions") or {} for _, run in current},
        pages={run["run_id"]: str(url) for _, run in current if (url := (run.get("wandb") or {}).get("url"))},
        axes={run_id: label.conditions for run_id, label in labels.items()},
        identities=identities,
        notes=tuple(notes),
    )
    for note in notes:
        log.warning(note)
    return tables


def _identity(run: dict[str, Any], config: dict[str, Any]) -> variants.Run:
    """What defines the run's result, as it was recorded; of older records, as its config has it."""
    tags = {"variant": run["run_id"]} | (run.get("tags") or {})
    if isinstance(data := config.get("data"), dict) and "_target_" in data:
        tags["data"] = data_name(data)
    recorded = run.get("result_config")
    result = json.loads(recorded) if isinstance(recorded, str) else result_config(config)
    return variants.Run(tags, result or {"run": run["run_id"]})  # without a config it is like no other


def _newest(
    read: list[tuple[Path, dict[str, Any], dict[str, Any]]], notes: list[str]
) -> list[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Of runs of the same config and seed the one that counts: a finished one, then the last started."""
    kept: dict[tuple[str, int, str], tuple[Path, dict[str, Any], dict[str, Any]]] = {}
    for one in sorted(read, key=lambda r: (r[1].get("status") == "finished", str(r[1].get("started") or ""))):
        own = _identity(one[1], one[2])
        key = (str(own.tags["variant"]), int(own.tags.get("seed", 0)), digest(own.result))
        if (older := kept.get(key)) is not None:
            notes.append(
                f"run {older[1]['run_id']} ({older[1].get('status')}) in {older[0]} is superseded by another "
                f"run of the same config, {one[1]['run_id']}"
            )
        kept[key] = one
    return sorted(kept.values(), key=lambda one: one[0])


def _trials(identities: dict[str, variants.Run]) -> list[str]:
    return [
        f"run {run_id} was a trial (trainer.fast_dev_run={variants.value_text(value)}): it stands under a "
        "condition of its own"
        for run_id, own in identities.items()
        if (value := (own.result.get("trainer") or {}).get("fast_dev_run"))
    ]


def _read_runs(folder: Path, notes: list[str], name: str = "*") -> Iterator[tuple[Path, dict[str, Any]]]:
    directories = {path.parent for file in RECORD for path in folder.glob(f"{name}/{file}")}
    for directory in sorted(directories):
        run = sound(directory)
        if run is None:
            run = rebuilt(directory)
            what = "damaged" if (directory / "run.json").exists() else "missing"
            told = "shown from the rest of the record" if run else "the run is left out"
            notes.append(f"{directory / 'run.json'} is {what}: {told}; the run's own command rebuilds it")
        if run:
            yield directory / "run.json", {"run_id": directory.name} | run


def _read_config(directory: Path, notes: list[str]) -> dict[str, Any]:
    path = directory / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        notes.append(f"{path} is missing")
        return {}
    except yaml.YAMLError as error:
        notes.append(f"{path} cannot be read: {str(error).splitlines()[0]}")
        return {}
    return current_targets(config) if isinstance(config, dict) else {}


def _read_lines(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    # Not str.splitlines: a label may hold U+2028, which JSON leaves unescaped.
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "step" not in row:
                raise ValueError("no object with a step")
        except ValueError:
            notes.append(f"{path} line {number} is torn: skipped")
            continue
        yield row


def _read_predictions(directory: Path) -> pd.DataFrame | None:
    path = predictions.find(directory)
    if path is None:
        return None
    try:
        state = path.stat()
        return _parsed(path, state.st_mtime_ns, state.st_size)
    except (ValueError, OSError) as error:
        log.warning("%s", error)
        return None


@lru_cache(maxsize=64)
def _parsed(path: Path, changed: int, size: int) -> pd.DataFrame:
    """A report reads the same file for several tables and figures."""
    table: pd.DataFrame = predictions.read(path)
    return table


def _lag(configs: dict[str, dict[str, Any]], run: dict[str, Any]) -> float:
    data = configs[run["run_id"]].get("data") or {}
    return float(data.get("lag", data.get("steps", "nan")))


def _runs_table(
    found: list[tuple[Path, dict[str, Any]]],
    configs: dict[str, dict[str, Any]],
    labels: dict[str, variants.Label],
) -> pd.DataFrame:
    rows = []
    for directory, run in found:
        label = labels[run["run_id"]]
        told = {"variant": label.variant, "condition": label.condition, "lag": _lag(configs, run)}
        rows.append(_run_row(directory, run) | told)
    table = pd.DataFrame(rows)
    columns = RUN_COLUMNS + sorted(set(table.columns) - set(RUN_COLUMNS))
    return table[columns].sort_values(["variant", "condition", "lag", "seed", "run_id"], ignore_index=True)


def _run_row(directory: Path, run: dict[str, Any]) -> dict[str, Any]:
    tags, parameters, git = (run.get(key) or {} for key in ("tags", "parameters", "git"))
    summary = {
        name: float("nan") if value is None else value
        for name, value in (run.get("summary") or {}).items()
        if value is None or isinstance(value, int | float)
    }
    return summary | {
        "run_id": run["run_id"],
        "cell": str(tags.get("cell", "")),
        "attention": str(tags.get("attention", "")),
        "data": str(tags.get("data", "")),
        "seed": int(tags.get("seed", 0)),
        "status": run.get("status", "unknown"),
        "reason": run.get("reason"),
        "started": str(run.get("started") or ""),
        "seconds": run.get("seconds"),
        "parameters": parameters.get("total"),
        "between_parameters": parameters.get("between"),
        "stack_parameters": parameters.get("stack"),
        "hidden_size": parameters.get("hidden_size"),
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "command": tuple(str(word) for word in run.get("command") or ()),
        "directory": str(directory),
    }


def _metrics_table(found: list[tuple[Path, dict[str, Any]]], notes: list[str]) -> pd.DataFrame:
    rows = [
        (run["run_id"], row["step"], row.get("epoch"), row.get("time"), name, value)
        for directory, run in found
        for row in _read_lines(directory / "metrics.jsonl", notes)
        for name, value in row.items()
        if name not in ROW_KEYS and (value is None or isinstance(value, int | float))
    ]
    table = _keep_last(pd.DataFrame(rows, columns=METRIC_COLUMNS))
    return table.astype({"epoch": float, "time": float, "value": float})


def _measurements_table(found: list[tuple[Path, dict[str, Any]]], notes: list[str]) -> pd.DataFrame:
    rows = [
        (
            run["run_id"],
            row["step"],
            row.get("epoch"),
            str(row["name"]).removeprefix(TESTED),
            row.get("kind"),
            _value(row),
            row,
            str(row["name"]).startswith(TESTED),
        )
        for directory, run in found
        for row in _read_lines(directory / "readings.jsonl", notes)
        if "name" in row
    ]
    table = _keep_last(pd.DataFrame(rows, columns=READING_COLUMNS))
    return table.astype({"epoch": float, "value": float, "name": str, "tested": bool})


def _value(row: dict[str, Any]) -> float | None:
    return row.get("value") if row.get("kind") == "scalar" else None


def _keep_last(table: pd.DataFrame) -> pd.DataFrame:
    key = [name for name in ("run_id", "name", "step", "tested") if name in table]
    return table.drop_duplicates(key, keep="last").reset_index(drop=True)


def summary_names(tables: Tables, prefix: str = "test/") -> list[str]:
    """Names of the metrics that stand in the runs' summaries under `prefix`, in order."""
    logged: Iterable[str] = tables.metrics.name[tables.metrics.name.str.startswith(prefix)].unique()
    return sorted({*logged, *(str(c) for c in tables.runs.columns if str(c).startswith(prefix))})
