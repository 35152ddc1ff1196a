"""Figures of a report, one module each, found by name.

A study names its figures: `study.figures: [learning_curves, my_package.my_figure]` draws the module
`gatescope.analysis.figures.learning_curves` and a module, or an object in a module, of your own. A figure has

    TITLE = "What it shows"
    def caption(comparison: Comparison) -> str: ...          # what is drawn, of which runs, n, units
    def numbers(comparison: Comparison) -> pd.DataFrame: ... # the plotted numbers, for its table
    def draw(comparison: Comparison, width: float | None = None) -> Figure: ...

All three compute from the comparison only, and raise `NoData("why")` where they cannot. `draw` opens
`with canvas(width, height) as figure:` and takes the style of each variant from `gatescope.analysis.style`.
It must be legible one column and two columns wide (3.3 and 6.9 inches), and chooses a width where none is
given. If the numbers are curves, `CURVES = Curves(...)` adds an interactive chart to the page.
"""

from gatescope.analysis.figures.base import LOOKUP, Curves, FigureModule, failure, title
from gatescope.analysis.figures.drawing import canvas, save
from gatescope.analysis.tables import NoData


def load(name: str) -> FigureModule:
    """Return the figure of a name; see `Lookup.load`."""
    figure: FigureModule = LOOKUP.load(name)
    return figure


__all__ = ["LOOKUP", "Curves", "NoData", "canvas", "failure", "load", "save", "title"]
