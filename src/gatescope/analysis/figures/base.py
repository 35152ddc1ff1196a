"""The interface of a figure, and how a figure is found by name."""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Protocol, cast

import pandas as pd
from matplotlib.figure import Figure

from gatescope.analysis.tables import Tables
from gatescope.components import import_from_working_directory

PACKAGE = "gatescope.analysis.figures"
REQUIRED = ("TITLE", "caption", "numbers", "draw")
"""Attributes that every figure has."""
CURVE_COLUMNS = ("variant", "mean", "low", "high", "n")
"""Columns of `numbers` that interactive curves need, beside those that `Curves` names."""

NOT_OWN = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[2]))
"""Folders of source files that are not a user's: where a figure of a user fails, these are not named."""


class NoData(Exception):
    """A figure cannot be drawn from these tables; the message says what is missing."""


class FigureModule(Protocol):
    """A module, or any object, that draws one figure from the tables of a study.

    A module may also have `CURVES`, an instance of `Curves`.
    """

    TITLE: str

    def caption(self, tables: Tables) -> str:
        """Return what is drawn, of which runs, with n and units."""
        ...

    def numbers(self, tables: Tables) -> pd.DataFrame:
        """Return the plotted numbers, for the table under the figure."""
        ...

    def draw(self, tables: Tables, width: float | None = None) -> Figure:
        """Draw the figure, `width` inches wide or as wide as the figure chooses."""
        ...


@dataclass(frozen=True)
class Curves:
    """Description of `numbers` as curves, from which the page makes an interactive chart.

    `numbers` then has the columns variant, mean, low, high and n, and those named here.

    Attributes:
        x: Column of the horizontal axis.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis; "" takes the value of the column `quantity` of each panel.
        panels: Columns whose values divide the rows into panels; `()` for a single panel.
        log_x: Whether the horizontal axis is logarithmic; from 0 it is symmetric, linear up to 1.
        log_y: Whether the vertical axis is logarithmic.
        floor: Lower limit of the vertical axis.
    """

    x: str
    x_label: str
    y_label: str
    panels: tuple[str, ...] = ()
    log_x: bool = False
    log_y: bool = False
    floor: float | None = None

    def check(self, numbers: pd.DataFrame) -> None:
        """Check that `numbers` has all columns that the chart needs.

        Raises:
            ValueError: A column is missing.
        """
        needed = [*CURVE_COLUMNS, self.x, *self.panels, *(() if self.y_label else ("quantity",))]
        if missing := [name for name in needed if name not in numbers]:
            raise ValueError(
                f"numbers() lacks {', '.join(missing)}, which CURVES needs; it has "
                f"{', '.join(map(str, numbers))}"
            )


def load(name: str) -> FigureModule:
    """Return the figure of a name.

    Args:
        name: A module of this package ("pareto"), or the dotted path of a module ("my_figure",
            "my_package.my_figure") or of an object in a module. Paths outside the package are looked up as
            Python imports them, and last in the working directory.

    Raises:
        NoData: There is no figure of this name.
        TypeError: The name is that of something which is not a figure.
    """
    if not is_dotted_path(name):
        raise NoData(f"{name!r} is neither the name of a figure nor a dotted path")
    figure = _import(f"{PACKAGE}.{name}")
    if figure is None:
        import_from_working_directory()
        figure = _import(name)
    if figure is None:
        raise NoData(
            f"there is no figure named {name!r} in {PACKAGE}, and nothing is imported by this dotted path"
            f"{_suggestion(name)}"
        )
    if missing := [attribute for attribute in REQUIRED if not hasattr(figure, attribute)]:
        raise TypeError(f"{name} is not a figure: it lacks {', '.join(missing)}")
    return cast(FigureModule, figure)


def is_dotted_path(name: str) -> bool:
    """Return whether `name` consists of Python identifiers joined by dots."""
    return all(part.isidentifier() for part in name.split("."))


def title(name: str) -> str:
    """Return the title of a figure, made from its name where the figure cannot be loaded."""
    try:
        return str(load(name).TITLE)
    except Exception:
        return name.rpartition(".")[2].replace("_", " ").capitalize()


def failure(name: str, error: Exception) -> str:
    """Return the text that stands in a report in place of a figure that raised `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(NOT_OWN)] or frames
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    message = " ".join(str(error).split()).rstrip(".")
    return (
        f"{type(error).__name__}{f': {message}' if message else ''}{place}; correct the figure {name}, or "
        "leave it out of `study.figures`, or of `figures=[…]` on the command line"
    )


def _import(path: str) -> ModuleType | Any | None:
    """Import a module, or an object in a module; return None where there is no such module or object."""
    parent, _, attribute = path.rpartition(".")
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not _names_part_of(path, error.name):
            raise
    if not parent or parent == PACKAGE:
        return None
    try:
        return getattr(importlib.import_module(parent), attribute, None)
    except ModuleNotFoundError as error:
        if not _names_part_of(parent, error.name):
            raise
        return None


def _names_part_of(path: str, module: str | None) -> bool:
    """Return whether `module` is `path` or a package that contains it."""
    return module is not None and f"{path}.".startswith(f"{module}.")


def _suggestion(name: str) -> str:
    """Return the figure of the package with the most similar name, as a question."""
    near = get_close_matches(name, figure_names(), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def figure_names() -> list[str]:
    """Return the names of the figures of this package."""
    package = importlib.import_module(PACKAGE)
    shared = {"base", "drawing", "summaries"}
    return sorted({module.name for module in iter_modules(package.__path__)} - shared)
