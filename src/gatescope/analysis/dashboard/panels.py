"""The panels of a dashboard: a dozen that show findings, those of swept keys, and all others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gatescope.analysis import study, words
from gatescope.analysis.dashboard.workspaces import wr
from gatescope.analysis.tables import Tables
from gatescope.instruments.measurements import chart_of

STEP = "trainer/global_step"
VARIANT = "record.tags.variant"
"""Key of the variant in the config of a W&B run, which contains the record of the run."""

PLACES = {
    "data": "record.tags.data",
    "optimizer": "optimizer._target_",
    "scheduler": "scheduler._target_",
    "config": "record.run_id",
    "run": "record.run_id",
}
"""Keys in the config of a W&B run of those parts of a condition that are not keys of a config."""

FINDINGS, SWEPT, INTERNALS = "Findings", "Swept keys", "Internals"
SECTIONS = (FINDINGS, SWEPT, INTERNALS)
CONFUSION_MATRIX = "test/confusion_matrix"


@dataclass(frozen=True)
class Curves:
    """A panel over training.

    Attributes:
        title: Its title.
        names: Regular expressions; the names that match the first one that any name matches are drawn.
        unit: Title of its y axis.
        log: Whether the y axis is logarithmic.
    """

    title: str
    names: tuple[str, ...]
    unit: str
    log: bool = False


CURVES = (
    Curves("Training loss", ("train/loss",), "loss"),
    Curves("Validation loss", ("validation/loss",), "loss"),
    Curves(
        "Half-life of the gradient",
        (r"gradient_flow/layer\d+/half_life", r"gradient_flow/layer\d+/loss_free_half_life"),
        "steps back in time",
        log=True,
    ),
    Curves(
        "Reach of the gradient",
        (r"gradient_flow/layer\d+/reach", r"gradient_flow/layer\d+/loss_free_reach"),
        "steps back in time",
    ),
    Curves(
        "Openness of the gates",
        (r"gates/layer\d+/(keep|forget)/mean", r"gates/layer\d+/update/mean", r"gates/.*/mean"),
        "mean share that is kept",
    ),
    Curves(
        "Gradient norm before and after clipping",
        (r"gradient_norm/(before|after)_clip",),
        "norm",
        log=True,
    ),
    Curves("Entropy of the attention weights", ("attention/entropy",), "nats"),
)
"""Panels over training among the findings, besides that of the metric."""


def section_panels(section: str, tables: Tables) -> list[Any]:
    """Return the panels of a section: none where nothing that belongs to it was logged."""
    if section == FINDINGS:
        return list(_finding_panels(tables))
    return list(_swept_panels(tables) if section == SWEPT else _internal_panels(tables))


def group_keys(tables: Tables) -> list[str]:
    """Return the keys in W&B's config by which runs are grouped: only seeds are averaged."""
    axes = dict.fromkeys(key for run in tables.runs.run_id for key in tables.axes.get(run, {}))
    tagged = {run: tables.identities[run].tags.get("variant") for run in tables.runs.run_id}
    if any(
        tagged[run] != variant for run, variant in zip(tables.runs.run_id, tables.runs.variant, strict=True)
    ):
        axes |= dict.fromkeys(["decoder._target_", "decoder.input_feeding"])
    return [VARIANT, *(PLACES.get(key, key) for key in axes)]


def _finding_panels(tables: Tables) -> Iterator[Any]:
    """Yield what the study found: test metric, curves, confusion matrix and cost, grouped over seeds."""
    keys, logged = group_keys(tables), _logged(tables)
    primary = wr.SummaryMetric(study.primary(tables))
    title = words.capital(words.metric(str(primary.name)))
    yield wr.BarPlot(title=f"{title} by variant", metrics=[primary], **_grouping("stderr", keys))
    validation = f"validation/{str(primary.name).rpartition('/')[2]}"
    for curves in (Curves(words.capital(words.metric(validation)), (re.escape(validation),), ""), *CURVES):
        if names := _drawn(curves, logged):
            yield _line(curves.title, names, keys, curves.unit or None, curves.log)
    if len(tables.task.get("labels") or ()) > 1 and tables.task.get("kind") == "classification":
        yield wr.CustomChart(
            query={"summaryTable": {"tableKey": f"{CONFUSION_MATRIX}_table"}},
            chart_name="wandb/confusion_matrix/v1",
            chart_fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
            chart_strings={"title": "Confusion matrix of the test split"},
        )
    for cost, x in (
        ("seconds per epoch", wr.SummaryMetric("seconds_per_epoch")),
        ("number of parameters", wr.Config("record.parameters.total")),
    ):
        yield wr.ScatterPlot(title=f"{title} against {cost}", x=x, y=primary)
    seconds = wr.SummaryMetric("seconds_per_epoch")
    yield wr.BarPlot(title="Seconds per epoch", metrics=[seconds], **_grouping("stderr", keys))


def _swept_panels(tables: Tables) -> Iterator[Any]:
    """Yield how the primary metric depends on the keys that a sweep varied; nothing if only variants did."""
    keys, primary = group_keys(tables), study.primary(tables)
    if keys == [VARIANT]:
        return
    title = f"{words.capital(words.metric(primary))} by swept keys"
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key)) for key in keys]
    metric = wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(primary))
    yield wr.ParallelCoordinatesPlot(title=title, columns=[*columns, metric])
    yield wr.ParameterImportancePlot(with_respect_to=primary)


def _internal_panels(tables: Tables) -> Iterator[Any]:
    """Yield everything that was logged over training and is not among the findings."""
    logged, keys = _logged(tables), group_keys(tables)
    validation = f"validation/{study.primary(tables).rpartition('/')[2]}"
    drawn = {name for curves in CURVES for name in _drawn(curves, logged)} | {validation}
    for name, kind in logged.items():
        if name in drawn or name.startswith(("test/", "tested/")):
            continue
        yield _chart(name) if kind == "chart" else _line(name, [name], keys)


def _drawn(curves: Curves, logged: dict[str, str]) -> list[str]:
    """Return the names that a panel draws."""
    matching = ([name for name in logged if re.fullmatch(pattern, name)] for pattern in curves.names)
    return next((names for names in matching if names), [])


def _line(
    title: str, names: Sequence[str], keys: list[str], unit: str | None = None, log: bool = False
) -> Any:
    shown: dict[str, Any] = {"title_y": unit, "log_y": log or None}
    return wr.LinePlot(
        title=title,
        x=STEP,
        y=list(names),
        title_x="updates",
        **{name: value for name, value in shown.items() if value},
        **_grouping("stddev", keys),
    )


def _grouping(spread: Any, keys: list[str]) -> dict[str, Any]:
    """Return the grouping of a panel; a panel takes one key, and follows that of the runs for several."""
    own = {"groupby": wr.Config(VARIANT)} if keys == [VARIANT] else {}
    return own | {"groupby_aggfunc": "mean", "groupby_rangefunc": spread}


def _chart(name: str) -> wr.CustomChart:
    """Return the chart of the last curves of each run, which `wandb.plot.line_series` has logged."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{name}_table"}},
        chart_name="wandb/lineseries/v0",
        chart_fields={"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"},
        chart_strings={"title": name},
    )


def _logged(tables: Tables) -> dict[str, str]:
    """Return the kind ("scalar", "histogram", "chart") of everything that was logged, by name on W&B."""
    logged = dict.fromkeys(tables.metrics.name, "scalar")
    for name, kind, payload in _first_of_each_name(tables):
        if kind == "points":
            logged |= {f"{name}/{column}": "histogram" for column in payload["columns"]}
        elif kind == "curve":
            logged[chart_of(name, payload["x_label"])] = "chart"
        elif kind in ("scalar", "histogram"):
            logged[name] = kind
    return dict(sorted(logged.items()))


def _first_of_each_name(tables: Tables) -> Iterator[tuple[str, str, dict[str, Any]]]:
    measured = tables.measurements[~tables.measurements.tested]
    first = measured[measured.kind != "undefined"].drop_duplicates("name")
    yield from zip(first.name, first.kind, first.payload, strict=True)
