"""Figures of a report, one module each, found by name.

A study names its figures: `study.figures: [learning_curves, my_package.my_figure]` draws the module
`gatescope.analysis.figures.learning_curves` and a module, or an object in a module, of your own. A figure has

    TITLE = "What it shows"
    def caption(tables: Tables) -> str: ...              # what is drawn, of which runs, n, units
    def numbers(tables: Tables) -> pd.DataFrame: ...     # the plotted numbers, for the table under the figure
    def draw(tables: Tables, width: float | None = None) -> Figure: ...

All three compute from the tables only, and raise `NoData("why")` where they cannot. `draw` opens
`with canvas(width, height) as figure:` and takes the style of each variant from `gatescope.analysis.style`.
It must be legible one column and two columns wide (3.3 and 6.9 inches), and chooses a width where none is
given. If the numbers are curves, `CURVES = Curves(...)` adds an interactive chart to the page.
"""

from gatescope.analysis.figures.base import Curves, NoData, failure, load, title
from gatescope.analysis.figures.drawing import canvas, save

__all__ = ["Curves", "NoData", "canvas", "failure", "load", "save", "title"]
