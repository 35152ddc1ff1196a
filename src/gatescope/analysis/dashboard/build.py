"""The workspace and the report of a study, built without a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatescope.analysis import study, style
from gatescope.analysis.dashboard.figures import Figure, figure_blocks, findings_of
from gatescope.analysis.dashboard.panels import (
    FINDINGS,
    INTERNALS,
    SECTIONS,
    STEP,
    group_keys,
    section_panels,
)
from gatescope.analysis.dashboard.workspaces import And, wr, ws
from gatescope.analysis.intervals import scale_of
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.selection import select
from gatescope.analysis.tables import Tables
from gatescope.analysis.units import unit_metric
from gatescope.invocation import command


@dataclass
class Dashboard:
    """A dashboard.

    Attributes:
        workspace: W&B workspace.
        report: W&B report with the same sections.
        panels: Number of panels by section; a section for which nothing was logged is left out.
        numbers: Question and table of the variants, in Markdown.
    """

    workspace: ws.Workspace
    report: wr.Report
    panels: dict[str, int]
    numbers: str


def build(tables: Tables, entity: str = "", project: str = "", figures: Sequence[Figure] = ()) -> Dashboard:
    """Build the dashboard of the runs of a study.

    Args:
        tables: The runs.
        entity: W&B account. With an entity and a project, wandb-workspaces looks the project up on the
            server; without them nothing is sent.
        project: W&B project.
        figures: Figures of the study's report, which the report on W&B shows.
    """
    name, keys = str(tables.study["name"]), group_keys(tables)
    sections = {title: panels for title in SECTIONS if (panels := section_panels(title, tables))}
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name=title, panels=panels, is_open=title != INTERNALS, pinned=title == FINDINGS)
            for title, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=max(10, _group_count(tables))),
        runset_settings=ws.RunsetSettings(filters=_filters(name), groupby=[ws.Config(key) for key in keys]),
    )
    found = findings_of(tables)
    headline = [wr.H1(found.headline)] if found.headline else []
    blocks: list[Any] = [*headline, *(wr.MarkdownBlock(text) for text in found.paragraphs)]
    blocks += [wr.H2("Numbers"), wr.MarkdownBlock(_summary(tables))]
    blocks += figure_blocks(figures, name, entity, project)
    for title, panels in sections.items():
        runs = wr.Runset(
            entity=entity,
            project=project,
            name=name,
            filters=_filters(name),
            groupby=[f"config.{key}" for key in keys],
        )
        grid = wr.PanelGrid(runsets=[runs], panels=panels)
        blocks += [wr.H2(title, collapsed_blocks=[grid])] if title == INTERNALS else [wr.H2(title), grid]
    question = str(tables.study.get("question") or "")
    report = wr.Report(
        entity=entity, project=project, title=name, description=question, blocks=blocks, width="fluid"
    )
    return Dashboard(
        workspace, report, {title: len(panels) for title, panels in sections.items()}, _summary(tables)
    )


def _filters(name: str) -> And:
    return And(ws.Metric("Group") == name, ws.Metric("State") == "finished")


def _group_count(tables: Tables) -> int:
    return len(tables.runs[["variant", "condition"]].drop_duplicates())


def _summary(tables: Tables) -> str:
    """Return the question, a table with one row per variant, and the command to rebuild, as Markdown."""
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
            _interval_text(estimate),
        )
        for condition in study.conditions(final)
        for variant in style.order(final.variant)
        for values in [final[(final.variant == variant) & (final.condition == condition)].dropna()]
        if len(values)
        for estimate in [unit_metric(values, scale_of(metric))]
    ]
    head = ["variant", "condition", *(["chosen"] if selection else []), "runs", metric, "95 % interval"]
    return "\n".join(
        [
            str(tables.study.get("question") or ""),
            "",
            markdown(head, rows),
            "",
            f"Made from the records by `{command('dashboard')} study={name} --push`.",
        ]
    )


def _interval_text(estimate: Any) -> str:
    if math.isnan(estimate.low):
        return "one run" if estimate.n < 2 else f"the same in {estimate.n} runs"
    return f"{estimate.low:.4g} to {estimate.high:.4g}"
