"""A study's views on W&B, built as code: a workspace and a report with the same sections.

Only what the study's runs have logged is drawn, grouped by variant and conditions over seeds. `build` asks
nobody: a report would look its project up while being built, so entity and project stay empty until `push`.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

with warnings.catch_warnings():  # 0.4.13 declares its models in the manner of pydantic 1
    warnings.simplefilter("ignore", DeprecationWarning)
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.expr import And

from gatescope.analysis import study, style
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.runs import Tables
from gatescope.analysis.selection import select
from gatescope.analysis.statistics import mean_interval
from gatescope.instruments.measurements import chart_of

STEP = "trainer/global_step"
VARIANT = "record.tags.variant"
"""In the config of a W&B run, where tracking puts its record."""

PLACES = {
    "data": "record.tags.data",
    "optimizer": "optimizer._target_",
    "scheduler": "scheduler._target_",
    "config": "record.run_id",
    "run": "record.run_id",
}
"""Where W&B's config has the parts of a condition that are no key of ours."""

KEPT = "dashboard.json"
"""Beside a study's records: where its dashboard is, so that the next push updates it."""

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
"""Names of metrics and readings by section, in order; the first pattern that fits a name places it."""


@dataclass
class Dashboard:
    """`panels` counts by section; a section without anything logged is left out."""

    workspace: ws.Workspace
    report: wr.Report
    panels: dict[str, int]


def build(tables: Tables, entity: str = "", project: str = "") -> Dashboard:
    """The dashboard of a study's runs; pure as long as entity and project are empty."""
    name, keys = str(tables.study["name"]), group_keys(tables)
    sections = {title: panels for title in SECTIONS if (panels := list(_panels(title, tables)))}
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name=title, panels=panels, is_open=title != "gates")
            for title, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=max(10, _groups(tables))),
        runset_settings=ws.RunsetSettings(filters=_filters(name), groupby=[ws.Config(key) for key in keys]),
    )
    blocks: list[Any] = [wr.MarkdownBlock(_markdown(tables))]
    for title, panels in sections.items():
        runs = wr.Runset(
            entity=entity,
            project=project,
            name=name,
            filters=_filters(name),
            groupby=[f"config.{key}" for key in keys],
        )
        blocks += [wr.H2(title.capitalize()), wr.PanelGrid(runsets=[runs], panels=panels)]
    question = str(tables.study.get("question") or "")
    report = wr.Report(
        entity=entity, project=project, title=name, description=question, blocks=blocks, width="fluid"
    )
    return Dashboard(workspace, report, {title: len(panels) for title, panels in sections.items()})


def _filters(name: str) -> And:
    return And(ws.Metric("Group") == name, ws.Metric("State") == "finished")


def _panels(section: str, tables: Tables) -> Iterator[Any]:
    keys = group_keys(tables)
    primary = wr.SummaryMetric(study.primary(tables))
    if section == "outcome":
        yield wr.BarPlot(title=str(primary.name), metrics=[primary], **_grouped("stderr", keys))
    if section == "cost":
        for title, x in (
            ("seconds an epoch", wr.SummaryMetric("seconds_per_epoch")),
            ("parameters", wr.Config("record.parameters.total")),
        ):
            yield wr.ScatterPlot(title=f"{primary.name} against {title}", x=x, y=primary)
        seconds = wr.SummaryMetric("seconds_per_epoch")
        yield wr.BarPlot(title="seconds an epoch", metrics=[seconds], **_grouped("stderr", keys))
    for name, kind in _names(section, tables):
        if kind == "chart":
            yield _chart(name)
        else:
            yield wr.LinePlot(title=name, x=STEP, y=[name], **_grouped("stddev", keys))


def _grouped(spread: Any, keys: list[str]) -> dict[str, Any]:
    """A panel's own grouping takes one key: by several, it follows that of the runs."""
    own = {"groupby": wr.Config(VARIANT)} if keys == [VARIANT] else {}
    return own | {"groupby_aggfunc": "mean", "groupby_rangefunc": spread}


def group_keys(tables: Tables) -> list[str]:
    """What runs are grouped by in W&B's config, so that only runs that differ in nothing but the seed are
    averaged."""
    axes = dict.fromkeys(key for run in tables.runs.run_id for key in tables.axes.get(run, {}))
    known = {run: tables.identities[run].tags.get("variant") for run in tables.runs.run_id}
    if any(
        known[run] != variant for run, variant in zip(tables.runs.run_id, tables.runs.variant, strict=True)
    ):
        axes |= dict.fromkeys(["decoder._target_", "decoder.input_feeding"])
    return [VARIANT, *(PLACES.get(key, key) for key in axes)]


def _groups(tables: Tables) -> int:
    return len(tables.runs[["variant", "condition"]].drop_duplicates())


def _chart(name: str) -> wr.CustomChart:
    """What `wandb.plot.line_series` logged: the last curves of each run."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{name}_table"}},
        chart_name="wandb/lineseries/v0",
        chart_fields={"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"},
        chart_strings={"title": name},
    )


def _names(section: str, tables: Tables) -> list[tuple[str, str]]:
    """(name, kind) of what was logged and belongs to a section, as W&B knows it, in the section's order."""
    logged = dict.fromkeys(tables.metrics.name, "scalar")
    for name, kind, payload in _first_of_each(tables):
        if kind == "points":
            logged |= {f"{name}/{column}": "histogram" for column in payload["columns"]}
        elif kind == "curve":
            logged[chart_of(name, payload["x_label"])] = "chart"
        elif kind in ("scalar", "histogram"):
            logged[name] = kind
    placed = [
        (place, name, kind)
        for name, kind in logged.items()
        for place in [next((i for i, p in enumerate(SECTIONS[section]) if re.fullmatch(p, name)), None)]
        if place is not None
    ]
    return [(name, kind) for _, name, kind in sorted(placed)]


def _first_of_each(tables: Tables) -> Iterator[tuple[str, str, dict[str, Any]]]:
    drawn = tables.measurements[tables.measurements.kind != "undefined"]
    first = drawn.drop_duplicates("name")
    yield from zip(first.name, first.kind, first.payload, strict=True)


def _markdown(tables: Tables) -> str:
    """The question, a row a variant, and how to make this again."""
    metric, name = study.primary(tables), tables.study["name"]
    selection = select(tables)
    final = (tables.finished() if selection is None else selection.tables).final(metric)
    chosen = {} if selection is None else selection.chosen
    rows = [
        (
            variant,
            condition,
            *([chosen.get((variant, condition), "")] if selection else []),
            estimate.n,
            f"{estimate.mean:.4g}",
            _interval(estimate),
        )
        for condition in study.conditions(final)
        for variant in style.order(final.variant)
        for values in [final[(final.variant == variant) & (final.condition == condition)].value.dropna()]
        if len(values)
        for estimate in [mean_interval(values)]
    ]
    head = ["variant", "condition", *(["chosen"] if selection else []), "runs", metric, "95 % interval"]
    return "\n".join(
        [
            str(tables.study.get("question") or ""),
            "",
            markdown(head, rows),
            "",
            f"Made from the records by `python scripts/dashboard.py study={name} --push`.",
        ]
    )


def _interval(estimate: Any) -> str:
    if math.isnan(estimate.low):
        return "one run" if estimate.n < 2 else f"the same in {estimate.n} runs"
    return f"{estimate.low:.4g} to {estimate.high:.4g}"


def spec(view: ws.Workspace | wr.Report) -> dict[str, Any]:
    """What would be sent, without random ids. The one place that uses what wandb-workspaces keeps private."""
    text = view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    plain: dict[str, Any] = _without_ids(json.loads(text))
    return plain


def _without_ids(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_ids(v) for k, v in node.items() if k not in ("id", "__id__", "ref")}
    return [_without_ids(item) for item in node] if isinstance(node, list) else node


def push(tables: Tables, project: str, kept: Path) -> dict[str, str]:
    """Saves the dashboard on W&B: updates the one whose address `kept` holds, else makes a new one.

    Args:
        project: "project", of the account's default entity, or "entity/project".
        kept: the file that holds the addresses; written.

    Returns:
        The addresses: {"project", "workspace", "report"}.
    """
    entity, _, name = project.rpartition("/")
    entity = entity or str(wandb.Api().default_entity)
    path = f"{entity}/{name}"
    before = _read(kept)
    if before.get("project") != path:
        before = {}
    new = build(tables, entity, name)
    workspace = _earlier(ws.Workspace, before.get("workspace"))
    if workspace is None:
        workspace = new.workspace
    else:
        for part in ("name", "sections", "settings", "runset_settings"):
            setattr(workspace, part, getattr(new.workspace, part))
    report = _earlier(wr.Report, before.get("report"))
    if report is None:
        report = new.report
    else:
        for part in ("title", "description", "blocks", "width"):
            setattr(report, part, getattr(new.report, part))
    workspace.save()
    report.save()
    urls = {"project": path, "workspace": workspace.url, "report": report.url}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(urls, indent=2) + "\n", encoding="utf-8")
    return urls


def _earlier(view: Any, url: str | None) -> Any:
    """The view as W&B holds it; None where there was none, or it has been deleted."""
    try:
        return None if url is None else view.from_url(url)
    except (ValueError, TypeError, wandb.Error):
        return None


def _read(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
