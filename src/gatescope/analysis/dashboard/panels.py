"""The sections of a dashboard and their panels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gatescope.analysis import study
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

SECTIONS: dict[str, tuple[str, ...]] = {
    "outcome": ("validation/.*", "train/.*"),
    "gradients": (
        "gradient_flow/.*",
        "training_signal/.*",
        "gradient_norm/[^/]+",
        "gradient_norm/.*/recurrent_weights/.*",
        "update_ratio/.*",
    ),
    "gates": ("gates/.*/mean", "gates/.*/histogram", "gates/.*/saturation/.*", "gates/.*/timescale/.*"),
    "attention": (
        "attention/[^/]+",
        "attention/tau/.*/(token|state)",
        "attention/truth/.*",
        "attention/permutation/total_variation",
        "attention/(comprehensiveness|sufficiency)/[^/]+",
    ),
    "cost": (),
}
"""Regular expressions of the names in each section; they also set the order of its panels."""


def section_panels(section: str, tables: Tables) -> Iterator[Any]:
    """Yield the panels of a section: none where nothing that belongs to it was logged."""
    keys = group_keys(tables)
    primary = wr.SummaryMetric(study.primary(tables))
    if section == "outcome":
        yield wr.BarPlot(title=str(primary.name), metrics=[primary], **_grouping("stderr", keys))
    if section == "cost":
        for title, x in (
            ("seconds per epoch", wr.SummaryMetric("seconds_per_epoch")),
            ("parameters", wr.Config("record.parameters.total")),
        ):
            yield wr.ScatterPlot(title=f"{primary.name} against {title}", x=x, y=primary)
        seconds = wr.SummaryMetric("seconds_per_epoch")
        yield wr.BarPlot(title="seconds per epoch", metrics=[seconds], **_grouping("stderr", keys))
    for name, kind in _logged_names(section, tables):
        if kind == "chart":
            yield _chart(name)
        else:
            yield wr.LinePlot(title=name, x=STEP, y=[name], **_grouping("stddev", keys))


def group_keys(tables: Tables) -> list[str]:
    """Return the keys in W&B's config by which runs are grouped: only seeds are averaged."""
    axes = dict.fromkeys(key for run in tables.runs.run_id for key in tables.axes.get(run, {}))
    tagged = {run: tables.identities[run].tags.get("variant") for run in tables.runs.run_id}
    if any(
        tagged[run] != variant for run, variant in zip(tables.runs.run_id, tables.runs.variant, strict=True)
    ):
        axes |= dict.fromkeys(["decoder._target_", "decoder.input_feeding"])
    return [VARIANT, *(PLACES.get(key, key) for key in axes)]


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


def _logged_names(section: str, tables: Tables) -> list[tuple[str, str]]:
    """Return (name on W&B, kind) of everything in a section that was logged, in the order of the section."""
    logged = dict.fromkeys(tables.metrics.name, "scalar")
    for name, kind, payload in _first_of_each_name(tables):
        if kind == "points":
            logged |= {f"{name}/{column}": "histogram" for column in payload["columns"]}
        elif kind == "curve":
            logged[chart_of(name, payload["x_label"])] = "chart"
        elif kind in ("scalar", "histogram"):
            logged[name] = kind
    positioned = [
        (position, name, kind)
        for name, kind in logged.items()
        for position in [next((i for i, p in enumerate(SECTIONS[section]) if re.fullmatch(p, name)), None)]
        if position is not None
    ]
    return [(name, kind) for _, name, kind in sorted(positioned)]


def _first_of_each_name(tables: Tables) -> Iterator[tuple[str, str, dict[str, Any]]]:
    defined = tables.measurements[tables.measurements.kind != "undefined"]
    first = defined.drop_duplicates("name")
    yield from zip(first.name, first.kind, first.payload, strict=True)
