"""Figures, a file each, found by name: `study.figures: [learning_curves, x]` draws `figures/x.py`.

To add one, write `figures/x.py` with

    TITLE = "What it shows"
    def caption(tables: Tables) -> str: ...          # what is drawn, of what, n, units
    def draw(tables: Tables) -> Figure: ...          # from tables only; raises NoData(why) when it cannot

inside `draw`, open `with canvas(width, height) as figure:` and take every look from `analysis.style`.
"""

from gatescope.analysis.figures.base import NoData, canvas, load, save

__all__ = ["NoData", "canvas", "load", "save"]
