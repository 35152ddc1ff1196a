"""The figures of a report: drawn, saved, and described for README and page."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.figures.base import Curves, FigureModule, NoData, load, save
from gatescope.analysis.report import page
from gatescope.analysis.runs import Tables

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
"""The figures of a study that does not list `study.figures`."""


@dataclass(frozen=True)
class Drawing:
    """A figure of a report.

    Attributes:
        name: stem of its files.
        title: its heading.
        caption: what is drawn.
        missing: why it could not be drawn; None where it was.
        table: the numbers that it shows.
        curves: how `table` is drawn as curves with a cursor; None where it holds no curves.
        narrow: data URL of the one-column form for narrow screens; None where the figure is one column wide.
    """

    name: str
    title: str
    caption: str
    missing: str | None = None
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: Curves | None = None
    narrow: str | None = None


def draw(name: str, tables: Tables, folder: Path, paper: bool) -> Drawing:
    """Draw a figure and write its files.

    A figure that has no data or raises an exception does not cost the report: the reason takes its place.

    Args:
        name: the figure, as `study.figures` names it.
        tables: the runs that are compared.
        folder: the folder of the report.
        paper: whether to write the one- and two-column forms as well.
    """
    title = name.replace("_", " ").capitalize()
    try:
        module = load(name)
        title = module.TITLE
        return _draw(name, module, tables, folder, paper)
    except NoData as why:
        log.warning("figure %s: %s", name, why)
        reason = str(why)
    except Exception as error:
        log.exception("figure %s", name)
        reason = f"{type(error).__name__}: {error}"
    _remove_files(name, folder)
    return Drawing(name, title, "", reason)


def _draw(name: str, module: FigureModule, tables: Tables, folder: Path, paper: bool) -> Drawing:
    figure, table, caption = module.draw(tables), module.numbers(tables), module.caption(tables)
    save(figure, folder, name, ("png", "svg"))
    (folder / "numbers").mkdir(exist_ok=True)
    table.to_csv(folder / "numbers" / f"{name}.csv", index=False, float_format="%.8g", lineterminator="\n")

    def at(width: float) -> Figure:
        return figure if figure.get_figwidth() == width else module.draw(tables, width)

    column, narrow = at(style.COLUMN), None
    with TemporaryDirectory() as elsewhere:
        target, stem = folder / "paper" if paper else Path(elsewhere), f"{name}_one_column"
        if paper:
            save(column, target, stem)
            save(at(style.TWO_COLUMNS), target, f"{name}_two_columns")
        elif column is not figure:
            save(column, target, stem, ("png", "svg"))
        if column is not figure:
            narrow = page.image(target / stem)
    return Drawing(name, module.TITLE, caption, None, table, getattr(module, "CURVES", None), narrow)


def _remove_files(name: str, folder: Path) -> None:
    """Remove the files of a figure that an older report drew."""
    for pattern in (f"{name}.*", f"numbers/{name}.csv", f"paper/{name}_*"):
        for path in folder.glob(pattern):
            path.unlink()
