"""Figures, a file each, found by name: `study.figures: [learning_curves, x]` draws `figures/x.py`.

To add one, write `figures/x.py` with

    TITLE = "What it shows"
    def caption(tables: Tables) -> str: ...              # what is drawn, of what, n, units
    def numbers(tables: Tables) -> pd.DataFrame: ...     # what it shows, as rows for the table under it
    def draw(tables: Tables, width: float | None = None) -> Figure: ...

all three from tables only, raising NoData(why) where they cannot. `draw` opens `with canvas(width, height) as
figure:`, takes every look from `analysis.style`, and is legible one column and two columns wide; without a
width it chooses. Where the numbers are curves, `CURVES = Curves(...)` makes them hoverable on the page.
"""

from gatescope.analysis.figures.base import Curves, NoData, canvas, load, save

__all__ = ["Curves", "NoData", "canvas", "load", "save"]
