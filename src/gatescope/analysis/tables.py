"""The tables of a study: one row per run, logged value and measurement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.tracking import predictions, variants

log = logging.getLogger(__name__)

RUN_COLUMNS = [
    "run_id", "variant", "cell", "attention", "data", "condition", "lag", "seed", "fold", "unit", "overlap",
    "status", "reason", "started", "seconds", "parameters", "between_parameters", "stack_parameters",
    "hidden_size", "commit", "dirty", "command", "directory",
]  # fmt: skip
TRIAL_COLUMNS = [*RUN_COLUMNS, "number", "setting", "values"]
METRIC_COLUMNS = ["run_id", "step", "epoch", "time", "name", "value"]
MEASUREMENT_COLUMNS = ["run_id", "step", "epoch", "name", "kind", "value", "payload", "tested"]


Texts = Callable[[Sequence[int]], list[str]]
"""Returns the texts of examples of the test split, given their ids."""


class NoData(Exception):
    """The runs do not have what a figure or a table shows; the message says what is missing."""


@dataclass(frozen=True)
class Tables:
    """The runs of one study, as data frames.

    Attributes:
        study: The `study:` node of the config of the runs (name, question, primary, direction, baseline,
            ...).
        task: The `task` of the run that started last (kind, metric, direction, labels, notes).
        runs: One row per run: `RUN_COLUMNS` and one column per summary value (`test/accuracy`, ...).
            `variant` and `condition` are defined in `gatescope.tracking.variants`: the condition names
            everything else that differs within the study ("lag=50, lr=0.01"), "" where nothing does. `lag` is
            the lag of the task in time steps, NaN where it has none. `fold` is the fold that a run was tested
            on, NaN without folds; `unit` and `overlap` are defined in `gatescope.analysis.units`.
        metrics: One row per logged value: `METRIC_COLUMNS`; a value that was not finite is NaN.
        measurements: One row per measurement: `MEASUREMENT_COLUMNS`. `value` is set for scalars, `payload`
            (the recorded object) for all. `tested` tells whether the measurement is of the weights that were
            tested, or of weights during training.
        configs: Resolved config by run id.
        tasks: `task` by run id; the runs of a study may have data of several kinds.
        versions: Versions of packages by run id.
        pages: Address of the page on W&B by run id, for runs that have one.
        axes: Parts of the condition by run id, `key=value` by the full name of the key.
        identities: What the labels were derived from, by run id.
        notes: Remarks on the records for the reader (damaged lines, superseded runs, ...).
        trials: The trials by which the settings of the runs were chosen, as `runs` and with `number`, the
            number of the trial, `setting`, such as "lr=0.01", and `values` of the tuned keys as JSON. `runs`
            then has `setting` too.
        place: Where the records of the runs are, for the reader; "" if that is not known.
        read_predictions: Returns the predictions of a run by its id; default: from the directory of the run.
        find_texts: Returns the lookup of the texts of a run's test examples by the id of the run, or None
            where the texts are not available; without it texts are not looked for.
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
    trials: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=TRIAL_COLUMNS))
    place: str = ""
    read_predictions: Callable[[str], pd.DataFrame | None] | None = None
    find_texts: Callable[[str], Texts | None] | None = None

    def finished(self) -> Tables:
        """Return the tables of the finished runs, which are the ones that may be compared."""
        return self.restricted_to(self.runs[self.runs.status == "finished"])

    def restricted_to(self, runs: pd.DataFrame) -> Tables:
        """Return the tables of these runs only.

        Args:
            runs: Rows of `self.runs`; the values of its columns may have been changed.
        """
        ids = set(runs.run_id)
        return replace(
            self,
            runs=runs,
            metrics=self.metrics[self.metrics.run_id.isin(ids)],
            measurements=self.measurements[self.measurements.run_id.isin(ids)],
        )

    def metric(self, name: str) -> pd.DataFrame:
        """Return all logged values of one metric, with the variant, condition and seed of the run."""
        return self._with_run(self.metrics[self.metrics.name == name])

    def measurement(self, name: str) -> pd.DataFrame:
        """Return the measurements during training, with the variant, condition and seed of the run.

        Args:
            name: Regular expression that the whole name matches.
        """
        table = self._measured(name)
        return self._with_run(table[~table.tested])

    def with_tested(self, name: str) -> pd.DataFrame:
        """Return the measurements during training and of the tested weights; see `measurement`."""
        return self._with_run(self._measured(name))

    def of_tested(self, name: str) -> pd.DataFrame:
        """Return the measurements of the tested weights, one row per run and name; see `measurement`.

        A run without measurements of the tested weights is represented by its last ones during training.
        """
        table = self._measured(name).sort_values(["tested", "step"], kind="stable")
        return self._with_run(table.drop_duplicates(["run_id", "name"], keep="last"))

    def final(self, name: str) -> pd.DataFrame:
        """Return the final value of a metric: one row per run with variant, condition, unit and value.

        It is the value in the summary of the run, or else the value that was logged last.
        """
        logged = self.metrics[self.metrics.name == name].groupby("run_id").value.last()
        value = self.runs.run_id.map(logged)
        if name in self.runs:
            value = pd.to_numeric(self.runs[name]).fillna(value)
        columns = ["run_id", "variant", "condition", "seed", "unit", "overlap"]
        return self.runs[columns].assign(value=value.astype(float))

    def predictions(self, run_id: str) -> pd.DataFrame | None:
        """Return the predictions of a run on its test split; see `gatescope.tracking.predictions`.

        The table is cached and must not be changed in place. It is None for a record without a file of
        predictions, or with one that cannot be read.
        """
        if self.read_predictions is not None:
            return self.read_predictions(run_id)
        directory = self.runs.directory[self.runs.run_id == run_id]
        return _read_predictions(Path(directory.iloc[0])) if len(directory) else None

    def _measured(self, name: str) -> pd.DataFrame:
        """Return the measurements whose whole name matches a regular expression."""
        names = pd.Index(self.measurements.name.unique())
        return self.measurements[self.measurements.name.isin(names[names.str.fullmatch(name)])]

    def _with_run(self, table: pd.DataFrame) -> pd.DataFrame:
        columns = ["run_id", "variant", "cell", "attention", "condition", "seed", "fold", "unit", "overlap"]
        return table.merge(self.runs[columns], on="run_id", how="inner")


def summary_names(tables: Tables, prefix: str = "test/") -> list[str]:
    """Return the names of the metrics in the summaries of the runs that begin with `prefix`, sorted."""
    logged: Iterable[str] = tables.metrics.name[tables.metrics.name.str.startswith(prefix)].unique()
    return sorted({*logged, *(str(c) for c in tables.runs.columns if str(c).startswith(prefix))})


def _read_predictions(directory: Path) -> pd.DataFrame | None:
    path = predictions.find(directory)
    if path is None:
        return None
    try:
        state = path.stat()
        return _parse_predictions(path, state.st_mtime_ns, state.st_size)
    except (ValueError, OSError) as error:
        log.warning("%s", error)
        return None


@lru_cache(maxsize=64)
def _parse_predictions(path: Path, modified: int, size: int) -> pd.DataFrame:
    """Read a file of predictions, once for all tables and figures of a report."""
    table: pd.DataFrame = predictions.read(path)
    return table


def count_text(counts: Iterable[int], noun: str) -> str:
    """Return "5 seeds" for equal counts of the noun "seed", else "3 to 5 seeds"."""
    counts = [int(count) for count in counts]
    if not counts:
        return f"no {noun}s"
    low, high = min(counts), max(counts)
    return f"{low} {noun}{'s' * (low != 1)}" if low == high else f"{low} to {high} {noun}s"
