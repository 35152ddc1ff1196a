"""The figures of a report: drawn, saved, and described for README and page."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from gatescope.analysis import style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures import FigureModule, failure, save, title
from gatescope.analysis.lookup import Found, UnknownName
from gatescope.analysis.report import interactive, page
from gatescope.analysis.report.tables import csv
from gatescope.analysis.tables import NoData

log = logging.getLogger(__name__)

FIGURES = (
    "learning_curves",
    "metric_by_variant",
    "paired_differences",
    "critical_difference",
    "expected_best",
    "hyperparameters",
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
"""The figures of a study that does not list `study.figures`."""
OF_TRIALS = ("expected_best", "hyperparameters")
"""The figures of the trials of a tuned study."""
PAPER_KINDS = ("png", "svg", "pdf")
"""Formats of the figures for a paper."""


@dataclass(frozen=True)
class Drawing:
    """A figure of a report.

    Attributes:
        name: stem of its files.
        title: its heading.
        caption: what is drawn.
        missing: why it could not be drawn; None where it was.
        table: the numbers that it shows.
        charts: title and Vega-Lite specification of each interactive chart.
        narrow: data URL of the one-column form for narrow screens; None where the figure is one column wide.
    """

    name: str
    title: str
    caption: str
    missing: str | None = None
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    charts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    narrow: str | None = None


def draw(found: Found, comparison: Comparison, folder: Path, paper: bool) -> Drawing:
    """Draw a figure and write its files.

    A figure that has no data or raises an exception does not prevent the report: the reason takes its place.

    Args:
        found: the figure, looked up by the name that `study.figures` gives it.
        comparison: the comparison.
        folder: the folder of the report.
        paper: whether to write the one- and two-column forms as well.
    """
    name = found.name
    try:
        if found.error is not None:
            raise found.error
        return _draw(name, found.module, comparison, folder, paper)
    except (NoData, UnknownName) as error:
        log.warning("figure %s: %s", name, error)
        reason = str(error)
    except Exception as error:
        log.exception("figure %s raised an error", name)
        reason = failure(name, error)
    _remove_files(name, folder)
    return Drawing(name, title(found), "", reason)


def _draw(name: str, module: FigureModule, comparison: Comparison, folder: Path, paper: bool) -> Drawing:
    figure, table, caption = module.draw(comparison), module.numbers(comparison), module.caption(comparison)
    curves = getattr(module, "CURVES", None)
    charts = interactive.charts(table, curves) if curves is not None else []
    save(figure, folder, name, ("png", "svg"))
    (folder / "numbers").mkdir(exist_ok=True)
    (folder / "numbers" / f"{name}.csv").write_text(csv(table, "%.8g"), encoding="utf-8")

    def save_at(width: float, target: Path, stem: str, kinds: tuple[str, ...]) -> None:
        if figure.get_figwidth() != width:
            save(module.draw(comparison, width), target, stem, kinds)
            return
        save(figure, target, stem, [kind for kind in kinds if kind == "pdf"])
        for kind in ("png", "svg"):
            shutil.copyfile(folder / f"{name}.{kind}", target / f"{stem}.{kind}")

    is_wide, narrow = figure.get_figwidth() != style.COLUMN, None
    with TemporaryDirectory() as elsewhere:
        target, stem = folder / "paper" if paper else Path(elsewhere), f"{name}_one_column"
        if paper:
            save_at(style.COLUMN, target, stem, PAPER_KINDS)
            save_at(style.TWO_COLUMNS, target, f"{name}_two_columns", PAPER_KINDS)
        elif is_wide:
            save_at(style.COLUMN, target, stem, ("png", "svg"))
        if is_wide:
            narrow = page.image(target / stem)
    return Drawing(name, str(module.TITLE), caption, None, table, charts, narrow)


def _remove_files(name: str, folder: Path) -> None:
    """Remove the files of a figure that an older report drew."""
    stems = (name, f"{name}_one_column", f"{name}_two_columns")
    names = {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg", "pdf", "csv")}
    for path in list(folder.rglob("*")):
        if path.name in names:
            path.unlink()
