"""What the templates of README and page show, computed from a `Comparison`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gatescope.analysis import study, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.report import page
from gatescope.analysis.report.drawings import Drawing
from gatescope.analysis.report.errors import ErrorSection
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.findings.headline import published
from gatescope.analysis.report.numbers import join_words
from gatescope.analysis.statistics import LEVEL_TEXT, missing_combinations
from gatescope.analysis.tables import Tables
from gatescope.analysis.units import correction, unit_name


def shared_context(
    comparison: Comparison, findings: Findings, errors: ErrorSection | None, commands: Sequence[str]
) -> dict[str, Any]:
    """Return what README and page both show.

    Args:
        comparison: the comparison.
        findings: the findings in words.
        errors: the section on errors.
        commands: the commands that compute the runs and the report again.
    """
    recorded, selection = comparison.recorded, comparison.selection
    return {
        "study": comparison.study,
        "comparison": comparison,
        "has_conditions": comparison.has_conditions,
        "selection": selection,
        "level": LEVEL_TEXT,
        "unit": comparison.unit,
        "correction": correction(comparison.contenders.runs),
        "direction": "higher" if comparison.higher_is_better else "lower",
        "findings": findings,
        "bars": _bars(comparison),
        "published": published(comparison),
        "errors": errors,
        "commands": commands,
        "unfinished": _unfinished(recorded),
        "missing": _missing(recorded, comparison.primary),
        "notes": [*recorded.notes, *(() if selection is None else selection.notes), *_mixed(recorded)],
        "commits": sorted({c for c in recorded.runs.commit if isinstance(c, str)}),
        "versions": _versions(recorded),
        "counts": (int((recorded.runs.status == "finished").sum()), len(recorded.runs)),
    }


def figures_context(findings: Findings, drawings: Sequence[Drawing]) -> dict[str, Any]:
    """Return the figures of the report: the one at the top, the others, and those that were not drawn.

    Args:
        findings: the findings, which name the figure at the top; else it is the first one.
        drawings: the figures.
    """
    figures = [one for one in drawings if one.missing is None]
    lead = next((one for one in figures if one.name == findings.figure), next(iter(figures), None))
    return {
        "lead": lead,
        "figures": [one for one in figures if one is not lead],
        "left_out": [one for one in drawings if one.missing is not None],
    }


def _bars(comparison: Comparison) -> dict[tuple[str, str], Contrast]:
    """Return by variant and condition the comparison with the baseline."""
    found = [one for judged in comparison.baseline_contrasts.values() for one in judged]
    return {(one.variant, one.condition): one for one in found}


def page_context(comparison: Comparison, drawings: Sequence[Drawing], folder: Path) -> dict[str, Any]:
    """Return what the page shows in addition.

    Args:
        comparison: the comparison.
        drawings: the figures of the report, the one at the top first.
        folder: the folder of the report.
    """
    images = {one.name: page.image(folder / one.name) for one in drawings}
    specs: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    for drawing in drawings:
        panels = []
        for title, spec in drawing.charts:
            panels.append((len(specs), title))
            specs.append(spec)
        figures.append(
            {
                "name": drawing.name,
                "title": drawing.title,
                "caption": drawing.caption.replace(r"\$", "$"),
                "charts": panels,
                "numbers": page.thinned(drawing.table),
            }
        )
    configs = {run_id: comparison.tables.configs.get(run_id, {}) for run_id in comparison.tables.runs.run_id}
    return {
        "lead": figures[0] if figures else None,
        "figures": figures[1:],
        "charts": specs,
        "images": images,
        "narrow": {one.name: one.narrow for one in drawings if one.narrow},
        "variants": page.variants(comparison.variants),
        "settings": page.settings(configs),
        "runs": page.runs(comparison),
        "place": comparison.recorded.place,
        "runs_have_conditions": comparison.recorded.runs.condition.nunique() > 1,
    }


def _missing(recorded: Tables, primary: str) -> list[str]:
    """Return the seeds without a finite result by variant and condition, such as "GRU, seeds 1 and 2".

    Only seeds that others of the study have are missing. A baseline needs no seeds. In a cross-validation
    these are folds, with the seed of each if there are several.
    """
    tables = study.contenders(recorded)
    # Conditions with data of another kind are compared on a metric of their own.
    other = [c for c in study.conditions(tables.runs) if study.own_metric(tables, c)[0] != primary]
    tables = replace(tables, runs=tables.runs[~tables.runs.condition.isin(other)])
    values = tables.final(primary).value.where(tables.runs.status == "finished")
    # In a condition that a single variant ran (a trial run, a value tried once), no other one is missing.
    variants_of = tables.runs.groupby("condition").variant.unique().to_dict()
    seeds: dict[str, list[str]] = {}
    unit, runs = unit_name(tables.runs), tables.runs
    if unit == "fold":
        several = runs.seed.nunique() > 1
        runs = runs.assign(
            seed=[
                f"{fold} (seed {seed})" if several else fold
                for fold, seed in zip(runs.unit, runs.seed, strict=True)
            ]
        )
    for variant, condition, seed in missing_combinations(runs, values):
        if len(variants_of[condition]) == 1 and variant not in variants_of[condition]:
            continue
        seeds.setdefault(words.place(variant, condition), []).append(str(seed))
    return [f"{name}, {unit}{'s' * (len(s) > 1)} {join_words(s)}" for name, s in seeds.items()]


def _unfinished(tables: Tables) -> list[dict[str, Any]]:
    """Return run_id, status and reason of the runs that have not finished."""
    table = tables.runs[tables.runs.status != "finished"]
    rows = table[["run_id", "status", "reason"]].to_dict("records")
    return [{str(k): v if isinstance(v, str) else None for k, v in row.items()} for row in rows]


def _mixed(tables: Tables) -> list[str]:
    """Return warnings about runs that were computed by different states of the code."""
    notes = []
    commits = {c for c in tables.runs.commit if isinstance(c, str)}
    if len(commits) > 1:
        notes.append(
            f"the runs come from {len(commits)} commits ({', '.join(sorted(c[:10] for c in commits))}): "
            "differences between them may be differences of the code"
        )
    if dirty := int((tables.runs.dirty == True).sum()):  # noqa: E712 - the column holds None too
        notes.append(
            f"{dirty} of {len(tables.runs)} runs were computed from a checkout with uncommitted changes"
        )
    differing = [name for name, values in _versions(tables).items() if " / " in values]
    if differing:
        notes.append(f"the runs differ in versions of {join_words(differing)}")
    return notes


def _versions(tables: Tables) -> dict[str, str]:
    """Return the versions of each package; several ones are separated by " / "."""
    names = sorted({name for versions in tables.versions.values() for name in versions})
    values = {n: sorted({str(v[n]) for v in tables.versions.values() if n in v}) for n in names}
    return {name: " / ".join(own) for name, own in values.items()}
