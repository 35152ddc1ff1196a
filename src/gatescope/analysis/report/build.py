"""Write `reports/<study>/` from records: page, README, tables, figures. Equal records give equal bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from gatescope.analysis import freezing, words
from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.declaring import check
from gatescope.analysis.figures import LOOKUP as figure_modules
from gatescope.analysis.frozen import FILE, FrozenSource
from gatescope.analysis.lookup import require_known
from gatescope.analysis.report import errors as report_errors
from gatescope.analysis.report import numbers, page
from gatescope.analysis.report import tables as report_tables
from gatescope.analysis.report.commands import commands
from gatescope.analysis.report.context import figures_context, page_context, shared_context
from gatescope.analysis.report.drawings import FIGURES, OF_TRIALS, draw
from gatescope.analysis.report.findings import DEFAULT, Findings, write_findings
from gatescope.analysis.report.findings import LOOKUP as findings_modules
from gatescope.analysis.report.findings.headline import bars
from gatescope.analysis.report.index import write_summary
from gatescope.analysis.report.links import safe_markdown
from gatescope.analysis.runs import Source, Tables, summary_names
from gatescope.analysis.tables import Texts
from gatescope.analysis.varied import question

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Options:
    """How a report is drawn.

    Attributes:
        paper: whether to draw each figure one and two columns wide as well, as PNG, SVG and PDF.
        figures: names of figures, in order; default: `study.figures`, else `FIGURES`.
        findings: the module that writes the findings; default: `study.findings` of the runs.
        words: words that the command in the section "Reproduce" has beside `study`.
    """

    paper: bool = True
    figures: tuple[str, ...] = ()
    findings: str | None = None
    words: tuple[str, ...] = ()


def write_report(
    source: Source,
    out: str | Path,
    paper: bool | None = None,
    figures: Sequence[str] | None = None,
    find_texts: report_errors.FindTexts | None = None,
    declared: Mapping[str, Any] | None = None,
    findings: str | None = None,
    options: Sequence[str] = (),
    freeze: bool = False,
    trust: bool = False,
) -> Path:
    """Write the report of a study.

    Args:
        source: where the runs come from. From frozen tables, what is not given here is as it was when they
            were written.
        out: the report is written to `<out>/<study>/`.
        paper: see `Options`; default: true.
        figures: see `Options`.
        find_texts: returns a lookup of the texts of a run's test examples, given its config and predictions,
            such as `gatescope.texts.texts_of`. Without it errors are shown by their ids.
        declared: keys of `study` that replace those of the runs, such as primary or select.
        findings: see `Options`.
        options: see `Options.words`.
        freeze: whether to write `frozen.FILE` as well, from which the report is then drawn.
        trust: whether `study.figures` and `study.findings` of the runs may name modules outside this package.

    Returns:
        The path of the README.

    Raises:
        NoRuns: there are no runs, none of them has finished, or none can be selected.
        UnknownName: `figures` or `findings` has a name that does not exist. Nothing has been written.
        UsageError: `declared` names a metric or a variant that no finished run has. Nothing has been written.
    """
    earlier = Options(**source.options()) if isinstance(source, FrozenSource) else Options()
    drawn = Options(
        paper=earlier.paper if paper is None else paper,
        figures=tuple(figures or ()) or earlier.figures,
        findings=findings or earlier.findings,
        words=_with_words(earlier.words, options) if isinstance(source, FrozenSource) else tuple(options),
    )
    require_known("figures", [figure_modules.find(name) for name in figures or ()])
    require_known("findings", [findings_modules.find(findings)] if findings else [])
    typed = [*(figures or ()), *([findings] if findings else [])]
    tables = completed(source.tables(), find_texts, declared or {})
    if freeze:
        traced = freezing.Traced.of(tables)
        with TemporaryDirectory() as elsewhere, _quiet():
            _write(traced, Path(elsewhere), drawn, trust=trust, typed=typed)
        folder = Path(out) / str(tables.study["name"])
        folder.mkdir(parents=True, exist_ok=True)
        freezing.write(folder / FILE, traced, asdict(drawn))
        # Rounded losses may have other worst errors, whose texts are then written too.
        tables = replace(FrozenSource(folder / FILE).tables(), find_texts=traced.find_texts)
        texts = traced.used.count_texts()
        readme = _write(tables, Path(out), drawn, True, trust, typed)
        if traced.used.count_texts() > texts:
            freezing.write(folder / FILE, traced, asdict(drawn))
        return readme
    return _write(tables, Path(out), drawn, isinstance(source, FrozenSource), trust, typed)


def _with_words(earlier: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a frozen report and those that were added: not where its tables are."""
    added = [word for word in words if word.partition("=")[0] not in ("source", "out", "root", "project")]
    return (*earlier, *(word for word in added if word not in earlier))


def completed(
    tables: Tables, find_texts: report_errors.FindTexts | None, declared: Mapping[str, Any]
) -> Tables:
    """Return the tables with what the report declares, a question, and a way to the texts."""
    study = tables.study | check(tables, dict(declared))
    if not study.get("question"):
        study["question"] = question(tables)
    if find_texts is None or tables.find_texts is not None:
        return replace(tables, study=study)

    def texts_of_run(run_id: str) -> Texts | None:
        predictions = tables.predictions(run_id)
        return None if predictions is None else find_texts(tables.configs.get(run_id, {}), predictions)

    return replace(tables, study=study, find_texts=texts_of_run)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings: the report is drawn twice, and both times it would have the same."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _write(
    tables: Tables,
    out: Path,
    options: Options,
    is_frozen: bool = False,
    trust: bool = False,
    typed: Sequence[str | None] = (),
) -> Path:
    """Write the report and return the path of its README.

    Args:
        tables: the study.
        out: the folder of all reports.
        options: how it is drawn.
        is_frozen: whether it is drawn from frozen tables.
        trust: whether modules outside this package may be imported.
        typed: names that may be, as the user typed them.
    """
    comparison = compare(tables)
    folder = out / str(comparison.study["name"])
    folder.mkdir(parents=True, exist_ok=True)
    if not is_frozen and (old := folder / FILE).exists():
        log.warning("%s belongs to an earlier report: freeze=true writes it anew", old)
    (folder / "runs.csv").write_text(report_tables.csv(runs_csv(tables)), encoding="utf-8")
    report_tables.write(comparison, folder / "tables")
    errors = report_errors.error_section(comparison)
    report_errors.write(errors, folder / "tables")
    named = str(comparison.study.get("findings") or DEFAULT)
    written = write_findings(
        comparison, findings_modules.find(options.findings or named, trust or options.findings in typed)
    )
    names = options.figures or comparison.study.get("figures") or FIGURES
    if not options.figures and len(tables.trials):  # a study names its figures before it is tuned
        names = [*names, *(name for name in OF_TRIALS if name not in names)]
    found = [figure_modules.find(str(name), trust or name in typed) for name in names]
    drawings = [draw(one, comparison, folder, options.paper) for one in found]
    repeating = commands(tables, options.words, is_frozen)
    shared = shared_context(comparison, written, errors, repeating) | figures_context(written, drawings)
    shown = [one for one in (shared["lead"], *shared["figures"]) if one is not None]
    own = page_context(comparison, shown, folder) | {"paper": options.paper}
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
    text = _environment().get_template(template).render(context)
    path.write_text(safe_markdown(text) if path.suffix == ".md" else text, encoding="utf-8")


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
        page.unbroken,
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
