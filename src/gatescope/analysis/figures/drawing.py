"""The canvas of a figure, its files, and the elements that several figures draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gatescope.analysis import fonts, style

METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""File formats, and the metadata that matplotlib would write into them and that changes from day to day."""


@contextmanager
def canvas(width: float = style.COLUMN, height: float = 2.3) -> Iterator[Figure]:
    """Open a figure in the style of the package; it has no pyplot state and needs no display.

    Args:
        width: In inches.
        height: In inches.
    """
    with matplotlib.rc_context(fonts.settings()):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def save(
    figure: Figure, directory: str | Path, name: str, kinds: Iterable[str] = ("png", "svg", "pdf")
) -> list[Path]:
    """Write `<directory>/<name>.<kind>` for each kind and return the paths.

    The same figure gives the same bytes. It is laid out once, for all files: this takes as long as drawing.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{name}.{kind}" for kind in kinds}
    with matplotlib.rc_context(fonts.settings()), fonts.missing_letters_reported():
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine(None)
        for kind, path in paths.items():
            figure.savefig(path, metadata=METADATA[kind])
    return list(paths.values())


def per_row(width: float, panel: float = 1.6) -> int:
    """Return how many panels fit side by side into a figure.

    Args:
        width: Width of the figure in inches.
        panel: Least width of a panel in inches.
    """
    return max(1, int((width - 0.4) / panel))


def panels(
    figure: Figure, count: int, columns: int, common_x: bool = True, common_y: bool = True
) -> list[Axes]:
    """Add `count` axes to a figure, in rows of at most `columns`; the last row may be shorter.

    Args:
        figure: The figure.
        count: Number of axes.
        columns: Most axes in a row.
        common_x: Whether all axes have the same horizontal scale.
        common_y: Whether all axes have the same vertical scale.
    """
    columns = min(columns, count)
    grid = list(
        figure.subplots(
            math.ceil(count / columns), columns, sharex=common_x, sharey=common_y, squeeze=False
        ).flat
    )
    for axes in grid[count:]:
        axes.remove()
    # Axes above an empty place are the lowest of their column and need tick labels.
    for axes in grid[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    return grid[:count]


def legend(
    figure: Figure,
    variants: Iterable[str],
    lines: bool = True,
    markers: bool = True,
    extra: Iterable[Line2D] = (),
) -> None:
    """Draw one legend above the panels, with each variant once.

    Args:
        figure: The figure.
        variants: Names of variants; repetitions are ignored.
        lines: Whether the line of a variant is shown.
        markers: Whether the marker of a variant is shown.
        extra: Further handles, after those of the variants.
    """
    handles = [
        Line2D([], [], label=own.label, **((own.points if markers else {}) | (own.line if lines else {})))
        for own in style.styles_of(variants).values()
    ]
    handles += list(extra)
    width = figure.get_size_inches()[0]
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    most = max(1, int(width / (0.062 * longest + 0.45)))
    columns = math.ceil(len(handles) / math.ceil(len(handles) / most)) if handles else 1
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=2.4)


def panel_title(axes: Axes, text: str) -> None:
    """Set the title of a panel; a dollar sign in it is drawn as such."""
    axes.set_title(style.escape(text), loc="left", pad=3)


def band(axes: Axes, mean: pd.DataFrame, color: str) -> None:
    """Shade the interval around a mean without changing the limits of the axes.

    Args:
        axes: The axes.
        mean: Columns low and high, over the index; rows in which one of them is not finite are left open.
        color: Of the shade.
    """
    closed = np.isfinite(mean[["low", "high"]].astype(float)).all(axis=1)
    for _, part in mean[closed].groupby((~closed).cumsum()[closed]):
        x, low, high = (np.asarray(column, dtype=float) for column in (part.index, part.low, part.high))
        outline = np.concatenate([np.column_stack([x, low]), np.column_stack([x, high])[::-1]])
        shade = PolyCollection([outline], facecolor=color, alpha=0.12, linewidth=0)
        axes.add_collection(shade, autolim=False)


def format_log_axis(axis: Axis) -> None:
    """Label a logarithmic axis 0.1, 0.2, 0.5, 1, … where it spans few decades, else in powers of ten."""
    low, high = axis.get_view_interval()
    if high < 1e3 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
