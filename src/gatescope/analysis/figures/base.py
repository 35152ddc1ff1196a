"""The interface of a figure."""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
from matplotlib.figure import Figure

from gatescope.analysis.comparison import Comparison
from gatescope.analysis.lookup import Found, Lookup

LOOKUP = Lookup(
    "figure",
    "gatescope.analysis.figures",
    required=("TITLE", "caption", "numbers", "draw"),
    shared=("base", "drawing", "summaries"),
)
"""Finds figures by their names."""
CURVE_COLUMNS = ("variant", "mean", "low", "high", "n")
"""Columns of `numbers` that interactive curves need, beside those that `Curves` names."""

NOT_OWN = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[2]))
"""Folders of source files that are not a user's: where a figure of a user fails, these are not named."""


class FigureModule(Protocol):
    """A module, or any object, that draws one figure from the comparison of a study.

    A module may also have `CURVES`, an instance of `Curves`.
    """

    TITLE: str

    def caption(self, comparison: Comparison) -> str:
        """Return what is drawn, of which runs, with n and units."""
        ...

    def numbers(self, comparison: Comparison) -> pd.DataFrame:
        """Return the plotted numbers, for the table under the figure."""
        ...

    def draw(self, comparison: Comparison, width: float | None = None) -> Figure:
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


def title(found: Found) -> str:
    """Return the title of a figure, made from its name where the figure could not be imported."""
    default = found.name.rpartition(".")[2].replace("_", " ").capitalize()
    return str(getattr(found.module, "TITLE", default))


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
