"""Records -> `reports/<study>/`: page, README, tables, figures. The same records give the same bytes."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from gatescope.analysis import contrasts, study, style
from gatescope.analysis.figures.base import Curves, NoData, load, save
from gatescope.analysis.report import errors as report_errors
from gatescope.analysis.report import numbers, page
from gatescope.analysis.report import tables as report_tables
from gatescope.analysis.report.index import write_summary
from gatescope.analysis.report.interactive import charts
from gatescope.analysis.runs import NoRuns, Source, Tables, summary_names
from gatescope.analysis.selection import Selection, select
from gatescope.analysis.statistics import LEVEL, missing_cells

log = logging.getLogger(__name__)

FIGURES = (
    "learning_curves",
    "metric_by_variant",
    "paired_differences",
    "pareto",
    "confusion_matrix",
    "calibration",
    "gate_saturation",
    "gate_distributions",
    "attention",
    "faithfulness",
    "gradient_norms",
    "vanishing_curves",
    "half_life_over_training",
    "timescales",
)
"""What a study shows that lists no `study.figures`."""

CSV_COLUMNS = ("run_id", "variant", "condition", "seed", "status")
CSV_COSTS = (
    "parameters",
    "between_parameters",
    "stack_parameters",
    "hidden_size",
    "seconds_per_epoch",
    "seconds",
    "commit",
    "reason",
)


class Findings(Protocol):
    """A module of prose: `report/comparison.py`, and what `study.findings` may name."""

    TITLE: str

    def headline(self, tables: Tables) -> str: ...

    def paragraphs(self, tables: Tables) -> list[str]: ...


@dataclass(frozen=True)
class Drawn:
    """A figure in the report: its files' stem and what the page needs, or why it could not be drawn."""

    name: str
    title: str
    caption: str
    missing: str | None = None
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: Curves | None = None
    narrow: str | None = None
    """A column wide, as a data address, where that is another figure: for a narrow screen."""


def write_report(
    source: Source,
    out: str | Path,
    paper: bool = True,
    figures: Sequence[str] | None = None,
    find_texts: report_errors.FindTexts | None = None,
    selecting: dict[str, Any] | None = None,
) -> Path:
    """Writes the study's report under `out` and returns its README.

    Args:
        figures: their names, in order; default: what the study lists, else `FIGURES`.
        paper: whether each figure is also drawn one and two columns wide, as PNG, SVG and PDF.
        find_texts: the way from a run's config and predictions to the texts of its errors, such as
            `gatescope.texts.texts_of`; without it errors are shown by their ids.
        selecting: {"over": keys, "by": metric on validation}; default: `study.select`, as the runs have it.

    Raises:
        NoRuns: there are no runs, or none of them finished, or nothing can be selected as is asked.
    """
    tables = source.tables()
    if selecting:
        tables = replace(tables, study=tables.study | {"select": selecting})
    if tables.finished().runs.empty:
        raise NoRuns(_nothing_finished(tables))
    selection = select(tables)
    finished = tables.finished() if selection is None else selection.tables
    if finished.runs.empty and selection is not None:
        raise NoRuns(f"no run of {tables.study['name']} can be selected: {'; '.join(selection.notes)}")
    folder = Path(out) / str(tables.study["name"])
    folder.mkdir(parents=True, exist_ok=True)
    runs_csv(tables).to_csv(folder / "runs.csv", index=False, lineterminator="\n")
    report_tables.write(finished, folder / "tables", selection)
    wrong = report_errors.section(finished, find_texts)
    report_errors.write(wrong, folder / "tables")
    names = figures or tables.study.get("figures") or FIGURES
    drawn = [_draw(name, finished, folder, paper) for name in names]
    shared = context(tables, finished, selection) | {"errors": wrong}
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(shared | page_context(tables, finished, drawn, folder) | {"paper": paper})
    )
    (folder / "report.html").write_text(html, encoding="utf-8")
    readme = folder / "README.md"
    text = _environment().get_template("README.md.j2").render(shared | {"figures": drawn})
    readme.write_text(text, encoding="utf-8")
    counts = dict(zip(("finished", "runs"), shared["counts"], strict=True))
    asked = {"name": tables.study["name"], "question": tables.study.get("question") or ""}
    write_summary(folder, asked | {"finding": _findings(tables).headline(finished)} | counts)
    return readme


def _nothing_finished(tables: Tables) -> str:
    states = tables.runs.status.value_counts()
    counted = numbers.listed(f"{n} {status}" for status, n in states.items())
    reasons = [r for r in tables.runs.reason if isinstance(r, str)]
    first = f"; the first reason: {reasons[0]}" if reasons else ""
    return f"no run of {tables.study['name']} has finished ({counted}){first}"


def runs_csv(tables: Tables) -> pd.DataFrame:
    """One row a run, failed ones included."""
    metrics = {name: tables.final(name).value for name in summary_names(tables)}
    table = tables.runs.assign(**metrics)
    columns = [*CSV_COLUMNS, *metrics, *CSV_COSTS]
    return table.reindex(columns=columns)


def _draw(name: str, tables: Tables, folder: Path, paper: bool) -> Drawn:
    title = name.replace("_", " ").capitalize()
    try:
        module = load(name)
        title = module.TITLE
        figure, table = module.draw(tables), module.numbers(tables)
    except NoData as why:
        log.warning("figure %s: %s", name, why)
        for stale in [
            *folder.glob(f"{name}.*"),
            *folder.glob(f"numbers/{name}.csv"),
            *folder.glob(f"paper/{name}_*"),
        ]:
            stale.unlink()
        return Drawn(name, title, "", str(why))
    save(figure, folder, name, ("png", "svg"))
    (folder / "numbers").mkdir(exist_ok=True)
    table.to_csv(folder / "numbers" / f"{name}.csv", index=False, float_format="%.8g", lineterminator="\n")

    def at(width: float) -> Figure:
        return figure if figure.get_figwidth() == width else module.draw(tables, width)

    column, narrow = at(style.COLUMN), None
    with TemporaryDirectory() as elsewhere:
        place, stem = folder / "paper" if paper else Path(elsewhere), f"{name}_one_column"
        if paper:
            save(column, place, stem)
            save(at(style.TWO_COLUMNS), place, f"{name}_two_columns")
        elif column is not figure:
            save(column, place, stem, ("png", "svg"))
        if column is not figure:
            narrow = page.image(place / stem)
    return Drawn(name, title, module.caption(tables), None, table, getattr(module, "CURVES", None), narrow)


def _environment() -> Environment:
    """Of both templates; what goes into HTML is escaped."""
    environment = Environment(
        loader=PackageLoader("gatescope.analysis.report", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (
        numbers.number,
        numbers.interval,
        numbers.p_value,
        numbers.cell,
        numbers.literal,
        numbers.count,
        page.markdown,
        page.inline,
        page.script_json,
    ):
        environment.filters[function.__name__] = function
    environment.filters["url"] = quote
    environment.globals |= {"asset": page.asset, "library": page.library}
    return environment


def _findings(tables: Tables) -> Findings:
    name = f"gatescope.analysis.report.{tables.study.get('findings') or 'comparison'}"
    return cast(Findings, import_module(name))


def context(tables: Tables, finished: Tables, selection: Selection | None) -> dict[str, Any]:
    """What README and page both say.

    Args:
        finished: the runs that are compared: all that have finished, or those that were selected.
    """
    findings, primary = _findings(tables), study.primary(finished)
    return {
        "study": tables.study,
        "primary": primary,
        "level": f"{LEVEL:.0%}",
        "metrics": contrasts.metric_names(finished),
        "rows": contrasts.rows(finished),
        "best": contrasts.best(finished),
        "has_conditions": finished.runs.condition.nunique() > 1,
        "selection": selection,
        "chosen": {} if selection is None else selection.chosen,
        "reference": study.reference(study.contenders(finished)),
        "compared": contrasts.against_reference(finished),
        "direction": "high" if study.higher_is_better(finished) else "low",
        "findings_title": findings.TITLE,
        "findings": findings.paragraphs(finished),
        "commands": commands(tables),
        "unfinished": _unfinished(tables),
        "missing": _missing(tables, primary),
        "notes": [*tables.notes, *(() if selection is None else selection.notes), *_mixed(tables)],
        "commits": sorted({c for c in tables.runs.commit if isinstance(c, str)}),
        "versions": _versions(tables),
        "counts": (int((tables.runs.status == "finished").sum()), len(tables.runs)),
    }


def page_context(tables: Tables, finished: Tables, figures: list[Drawn], folder: Path) -> dict[str, Any]:
    """What the page has besides."""
    images = {one.name: page.image(folder / one.name) for one in figures if one.missing is None}
    specs: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for figure in figures:
        panels = []
        if figure.curves is not None:
            for title, spec in charts(figure.table, figure.curves):
                panels.append((len(specs), title))
                specs.append(spec)
        named = {"name": figure.name, "title": figure.title, "caption": figure.caption.replace(r"\$", "$")}
        shown.append(
            named | {"missing": figure.missing, "charts": panels, "numbers": page.shown(figure.table)}
        )
    return {
        "figures": shown,
        "charts": specs,
        "opened": next((one["name"] for one in shown if one["charts"]), None),
        "images": images,
        "narrow": {one.name: one.narrow for one in figures if one.narrow},
        "variants": page.variants(study.contenders(finished)),
        "settings": page.settings({run: tables.configs.get(run, {}) for run in finished.runs.run_id}),
        "runs": page.runs(tables, folder),
        "runs_have_conditions": tables.runs.condition.nunique() > 1,
    }


def _missing(tables: Tables, primary: str) -> list[str]:
    """A line a variant and condition that lacks seeds which others have; a baseline needs no seeds."""
    tables = study.contenders(tables)
    # Data of another kind are compared on a metric of their own.
    elsewhere = [c for c in study.conditions(tables.runs) if study.own_metric(tables, c)[0] != primary]
    tables = replace(tables, runs=tables.runs[~tables.runs.condition.isin(elsewhere)])
    values = tables.final(primary).value.where(tables.runs.status == "finished")
    # Where one variant alone was run (a trial, a value tried once), no other is missing.
    tried = tables.runs.groupby("condition").variant.unique().to_dict()
    seeds: dict[str, list[str]] = {}
    for variant, condition, seed in missing_cells(tables.runs, values):
        if len(tried[condition]) == 1 and variant not in tried[condition]:
            continue
        seeds.setdefault(", ".join(filter(None, [variant, condition])), []).append(str(seed))
    return [f"{name}, seed{'s' * (len(s) > 1)} {numbers.listed(s)}" for name, s in seeds.items()]


def commands(tables: Tables) -> list[str]:
    """What to type to compute the runs again, as the records have it, and then this report."""
    name = str(tables.study["name"])
    recorded = {_command(words) for words in tables.runs.command if words}
    training = sorted(recorded) or [f"python train.py {shlex.quote(f'study={name}')}"]
    reporting = [f"study={name}"]
    if select := tables.study.get("select"):
        reporting += [f"select={','.join(select['over'])}", f"by={select['by']}"]
    return [*training, f"python scripts/report.py {shlex.join(reporting)}"]


def _command(words: tuple[str, ...]) -> str:
    program = Path(words[0]).name
    start = ["python", program] if program.endswith(".py") else program.split()  # "gatescope train"
    return shlex.join([*start, *words[1:]])


def _unfinished(tables: Tables) -> list[dict[str, Any]]:
    table = tables.runs[tables.runs.status != "finished"]
    rows = table[["run_id", "status", "reason"]].to_dict("records")
    return [{str(k): v if isinstance(v, str) else None for k, v in row.items()} for row in rows]


def _mixed(tables: Tables) -> list[str]:
    """Warnings for a study that was not computed by one state of the code."""
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
        notes.append(f"the runs differ in versions of {numbers.listed(differing)}")
    return notes


def _versions(tables: Tables) -> dict[str, str]:
    names = sorted({name for versions in tables.versions.values() for name in versions})
    found = {n: sorted({str(v[n]) for v in tables.versions.values() if n in v}) for n in names}
    return {name: " / ".join(values) for name, values in found.items()}
