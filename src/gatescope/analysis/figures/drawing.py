"""The canvas of a figure, its files, and the elements that several figures draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from gatescope.analysis.intervals import Scale

LEGEND_ROW, ROWS_WITH_ROOM = 0.15, 2
"""Height in inches of a row of a legend, and how many rows the height of a figure has room for."""

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
    further = list(extra)
    width, height = figure.get_size_inches()
    longest = max((len(str(handle.get_label())) for handle in [*handles, *further]), default=1)
    most = max(1, int(width / (0.062 * longest + 0.45)))
    columns = _columns(handles, further, most)
    rows = max(map(len, columns), default=0)
    figure.set_size_inches(width, height + LEGEND_ROW * max(0, rows - ROWS_WITH_ROOM))
    blank = Line2D([], [], linestyle="none", label=" ")
    filled = [handle for own in columns for handle in [*own, *[blank] * (rows - len(own))]]
    figure.legend(handles=filled, loc="outside upper center", ncols=max(1, len(columns)), handlelength=2.4)


def _columns(handles: list[Line2D], further: list[Line2D], most: int) -> list[list[Line2D]]:
    """Arrange the handles of a legend in at most `most` columns.

    The further ones come last, in a column of their own where there is room, and under the others elsewhere,
    so that they do not shift the variants into each other's columns.
    """
    rows = math.ceil(len(handles) / most) if handles else 1
    count = math.ceil(len(handles) / rows)
    columns = [[handles[i] for i in part] for part in np.array_split(np.arange(len(handles)), count or 1)]
    if (
        further
        and rows * len(columns) - len(handles) < len(further)
        and rows * (most - count) >= len(further)
    ):
        columns += [further[at : at + rows] for at in range(0, len(further), rows)]
        return columns
    for handle in further:
        min(reversed(columns), key=len).append(handle)
    return columns


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


def frame(grid: Iterable[Axes], scale: Scale = "real") -> None:
    """Set the vertical limits of axes so that lines, bars and bands lie within, and no impossible value.

    A band is cut where it is more than twice as wide as all lines together: it would flatten them.

    Args:
        grid: Axes with a common vertical scale, which gets one pair of limits.
        scale: Where the values can vary.
    """
    grid = list(grid)
    is_log = grid[0].get_yscale() == "log"
    lines = np.concatenate([_heights(axes.lines) for axes in grid] or [np.zeros(0)])
    bands = np.concatenate([_heights(axes.collections) for axes in grid])
    lines, bands = (np.log10(y[y > 0]) if is_log else y for y in (lines, bands))
    if not len(lines):
        return
    low, high = float(lines.min()), float(lines.max())
    room = 2 * (high - low) or 0.1 * abs(high) or 0.1
    if len(bands):
        low, high = max(low - room, min(low, bands.min())), min(high + room, max(high, bands.max()))
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    if not is_log:
        low = max(low, 0.0) if scale != "real" else low
        high = min(high, 1.0) if scale == "proportion" else high
    for axes in grid:
        axes.set_ylim(*((10**low, 10**high) if is_log else (low, high)))


def _heights(artists: Iterable[Any]) -> np.ndarray:
    """Return the finite vertical coordinates of lines, and of the paths of collections, in data."""
    found = [np.zeros(0)]
    for artist in artists:
        if isinstance(artist, Line2D):
            if artist.axes and artist.get_transform().contains_branch(artist.axes.transData):
                found.append(np.asarray(artist.get_ydata(), dtype=float).ravel())
        else:
            found += [path.vertices[:, 1] for path in artist.get_paths() if len(path.vertices)]
    y = np.concatenate(found)
    return y[np.isfinite(y)]


def format_log_axis(axis: Axis) -> None:
    """Label a logarithmic axis 0.1, 0.2, 0.5, 1, … where it spans few decades, else in powers of ten."""
    low, high = axis.get_view_interval()
    if high < 1e3 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: power_text(value)))
    axis.set_minor_formatter(NullFormatter())


def power_text(value: float) -> str:
    """Return the label of a power of ten: 0.01, 1, 100, and outside these 10⁻⁷."""
    if not value or 1e-2 <= abs(value) <= 1e4:
        return f"{value:g}"
    exponent = round(math.log10(abs(value)))
    return "10" + f"{exponent}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
