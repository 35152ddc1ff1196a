"""Write `reports/<study>/` from records: page, README, tables, figures. Equal records give equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.figures import LOOKUP as figure_modules
from gatescope.analysis.lookup import require_known
from gatescope.analysis.report import errors as report_errors
from gatescope.analysis.report import numbers, page
from gatescope.analysis.report import tables as report_tables
from gatescope.analysis.report.context import figures_context, page_context, shared_context
from gatescope.analysis.report.drawings import FIGURES, draw
from gatescope.analysis.report.findings import DEFAULT, Findings, write_findings
from gatescope.analysis.report.findings import LOOKUP as findings_modules
from gatescope.analysis.report.findings.headline import bars
from gatescope.analysis.report.index import write_summary
from gatescope.analysis.runs import Source, Tables, summary_names

CSV_COLUMNS = ("run_id", "variant", "condition", "seed", "fold", "status")
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


def write_report(
    source: Source,
    out: str | Path,
    paper: bool = True,
    figures: Sequence[str] | None = None,
    find_texts: report_errors.FindTexts | None = None,
    selecting: dict[str, Any] | None = None,
    findings: str | None = None,
    options: Sequence[str] = (),
    trust: bool = False,
) -> Path:
    """Write the report of a study.

    Args:
        source: where the runs come from.
        out: the report is written to `<out>/<study>/`.
        paper: whether to draw each figure one and two columns wide as well, as PNG, SVG and PDF.
        figures: names of figures, in order; default: `study.figures`, else `FIGURES`.
        find_texts: returns a lookup of the texts of a run's test examples, given its config and predictions,
            such as `gatescope.texts.texts_of`. Without it errors are shown by their ids.
        selecting: {"over": keys, "by": metric on validation}; default: `study.select` of the runs.
        findings: the module that writes the findings; default: `study.findings` of the runs.
        options: words that the command in the section "Reproduce" has beside `study`, `select` and `by`.
        trust: whether `study.figures` and `study.findings` of the runs may name modules outside this package.

    Returns:
        The path of the README.

    Raises:
        NoRuns: there are no runs, none of them has finished, or none can be selected.
        UnknownName: `figures` or `findings` has a name that does not exist. Nothing has been written.
    """
    typed = [figure_modules.find(name) for name in figures or ()]
    require_known("figures", typed)
    typed_findings = findings_modules.find(findings) if findings else None
    require_known("findings", [typed_findings] if typed_findings else [])
    tables = source.tables()
    if selecting:
        tables = replace(tables, study=tables.study | {"select": selecting})
    comparison = compare(tables)
    folder = Path(out) / str(comparison.study["name"])
    folder.mkdir(parents=True, exist_ok=True)
    runs_csv(tables).to_csv(folder / "runs.csv", index=False, lineterminator="\n")
    report_tables.write(comparison, folder / "tables")
    errors = report_errors.error_section(comparison, find_texts)
    report_errors.write(errors, folder / "tables")
    named = str(comparison.study.get("findings") or DEFAULT)
    written = write_findings(comparison, typed_findings or findings_modules.find(named, trust))
    names = comparison.study.get("figures") or FIGURES
    modules = typed or [figure_modules.find(str(name), trust) for name in names]
    drawings = [draw(found, comparison, folder, paper) for found in modules]
    shared = shared_context(comparison, written, errors, options) | figures_context(written, drawings)
    shown = [one for one in (shared["lead"], *shared["figures"]) if one is not None]
    own = page_context(comparison, shown, folder) | {"paper": paper}
    _render("report.html.j2", folder / "report.html", shared | own)
    _render("README.md.j2", folder / "README.md", shared)
    write_summary(folder, _summary(comparison, written))
    return folder / "README.md"


def runs_csv(tables: Tables) -> pd.DataFrame:
    """Return one row per run, failed ones included."""
    metrics = {name: tables.final(name).value for name in summary_names(tables)}
    table = tables.runs.assign(**metrics)
    own = [name for name in CSV_COLUMNS if name != "fold" or table.fold.notna().any()]
    columns = [*own, *metrics, *CSV_COSTS]
    return table.reindex(columns=columns)


def _summary(comparison: Comparison, findings: Findings) -> dict[str, Any]:
    """Return what the list of reports shows of this one."""
    runs = comparison.recorded.runs
    return {
        "name": comparison.study["name"],
        "question": comparison.study.get("question") or "",
        "title": findings.title,
        "finding": findings.headline,
        **bars(comparison),
        "finished": int((runs.status == "finished").sum()),
        "runs": len(runs),
    }


def _render(template: str, path: Path, context: dict[str, Any]) -> None:
    path.write_text(_environment().get_template(template).render(context), encoding="utf-8")


def _environment() -> Environment:
    """Return the environment of both templates; text in HTML is escaped."""
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
        report_tables.judgement,
        page.markdown,
        page.inline,
        page.script_json,
        words.variant,
        words.chosen,
        words.condition,
        words.metric,
        words.key,
        words.capital,
    ):
        environment.filters[function.__name__] = function
    environment.filters["url"] = quote
    environment.globals |= {"asset": page.asset, "library": page.library}
    return environment
