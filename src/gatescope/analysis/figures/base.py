"""What all figures share: the canvas, saving, and small drawing helpers."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

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

from gatescope.analysis import study, style
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import geometric_intervals, mean_intervals

METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""File formats, and what matplotlib would write into them that changes from day to day."""


class NoData(Exception):
    """A figure cannot be drawn from these tables; the message says what is missing."""


class FigureModule(Protocol):
    """A module of `analysis.figures`."""

    TITLE: str

    def caption(self, tables: Tables) -> str: ...

    def numbers(self, tables: Tables) -> pd.DataFrame: ...

    def draw(self, tables: Tables, width: float | None = None) -> Figure: ...


@dataclass(frozen=True)
class Curves:
    """A figure's `numbers` are curves (mean, low, high by variant), which a page can make hoverable.

    Attributes:
        x: the column along which they run, as `x_label` names it.
        panels: the columns whose values set the panels.
        y_label: of the vertical axis; "" for what the panel's `quantity` says.
        log_x, log_y: whether the axis is logarithmic (x from 0: symmetrically, linear up to 1).
        floor: where the vertical axis ends below.
    """

    x: str
    x_label: str
    y_label: str
    panels: tuple[str, ...]
    log_x: bool = False
    log_y: bool = False
    floor: float | None = None


def load(name: str) -> FigureModule:
    """The figure's module.

    Raises:
        NoData: there is no figure of this name.
    """
    module = f"gatescope.analysis.figures.{name}"
    try:
        return cast(FigureModule, import_module(module))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise NoData(f"there is no figure named {name!r} in gatescope/analysis/figures") from None


@contextmanager
def canvas(width: float = style.COLUMN, height: float = 2.3) -> Iterator[Figure]:
    """A figure of `width` × `height` inches in the house's style; no pyplot: no state, no display."""
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def save(
    figure: Figure, directory: str | Path, name: str, kinds: Iterable[str] = ("png", "svg", "pdf")
) -> list[Path]:
    """Writes `<name>.<kind>` of each kind, the same bytes for the same figure."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{name}.{kind}" for kind in kinds}
    with matplotlib.rc_context(style.RC), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the tables have it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for kind, path in paths.items():
            figure.savefig(path, metadata=METADATA[kind])
    return list(paths.values())


def seeds(table: pd.DataFrame) -> str:
    """ "5 seeds", or "3 to 5 seeds" where variants differ."""
    n = table.groupby(["variant", "condition"]).seed.nunique()
    if n.empty:
        return "no seeds"
    low, high = int(n.min()), int(n.max())
    return f"{low} seed{'s' * (low != 1)}" if low == high else f"{low} to {high} seeds"


def mean_over_seeds(table: pd.DataFrame, x: str, geometric: bool = False) -> pd.DataFrame:
    """Mean and interval of `value` at each `x` that every seed reached: columns mean, low, high, n."""
    wide = table.dropna(subset=["value"]).pivot_table(index=x, columns="seed", values="value", aggfunc="last")
    wide = wide[wide.notna().sum(axis=1) == table.seed.nunique()]
    means = (geometric_intervals if geometric else mean_intervals)(wide.to_numpy(dtype=float))
    return means.set_index(wide.index)


def means(table: pd.DataFrame, by: list[str], x: str, geometric: bool = False) -> pd.DataFrame:
    """`mean_over_seeds` of every variant in every group of `by`: by, variant, x, mean, low, high, n."""
    parts = []
    groups = list(table.groupby(by, sort=False)) if by else [((), table)]
    if "condition" in by:
        place = by.index("condition")
        groups.sort(key=lambda group: study.natural(str(group[0][place])))
    for group, part in groups:
        for variant in style.order(part.variant):
            rows = mean_over_seeds(part[part.variant == variant], x, geometric).rename_axis(x).reset_index()
            named = {"variant": variant} | {name: str(one) for name, one in zip(by, group, strict=True)}
            parts.append(rows.assign(**named))
    return pd.concat(parts, ignore_index=True)[[*by, "variant", x, "mean", "low", "high", "n"]]


def per_row(width: float, panel: float = 1.6) -> int:
    """How many panels at least `panel` inches wide stand side by side in a figure `width` inches wide."""
    return max(1, int((width - 0.4) / panel))


def panels(
    figure: Figure, count: int, columns: int, common_x: bool = True, common_y: bool = True
) -> list[Axes]:
    """`count` axes in rows of at most `columns`, with common scales or own; the last row may be short."""
    columns = min(columns, count)
    grid = list(
        figure.subplots(
            math.ceil(count / columns), columns, sharex=common_x, sharey=common_y, squeeze=False
        ).flat
    )
    for axes in grid[count:]:
        axes.remove()
    # What stands above a gap is the lowest of its column.
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
    """One legend above the panels, with each variant once."""
    looks = style.looks(variants).values()
    handles = [
        Line2D([], [], label=k.label, **((k.points if markers else {}) | (k.line if lines else {})))
        for k in looks
    ]
    handles += list(extra)
    width = figure.get_size_inches()[0]
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    most = max(1, int(width / (0.062 * longest + 0.45)))
    columns = math.ceil(len(handles) / math.ceil(len(handles) / most)) if handles else 1
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=2.4)


def words(name: str) -> str:
    """ "validation/macro_f1" as an axis label: "validation macro f1"."""
    return style.escape(re.sub(r"[/_]+", " ", name))


def without_repeats(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of gates (columns run_id, gate) that no other gate of the same run shows already: keep is
    1 − update, and in older records the forget gate."""
    shown = table.run_id[table.gate.isin(("update", "forget"))]
    return table[(table.gate != "keep") | ~table.run_id.isin(shown)]


MOST_CONDITIONS = 16
"""Panels of a figure with one a condition: thirty take a minute to lay out, and nobody reads them."""


def left_out(places: list[str], most: int = MOST_CONDITIONS) -> str:
    """For a caption: how many conditions are drawn, where it is not all of them."""
    if len(places) <= most:
        return ""
    return f" {most} of {len(places)} conditions, evenly chosen; the numbers and tables have all."


def spread(items: list[str], most: int) -> list[str]:
    """At most this many of the items, evenly chosen, first and last among them; of one, the last."""
    if len(items) <= most:
        return items
    if most == 1:
        return items[-1:]
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


def band(axes: Axes, mean: pd.DataFrame, color: str) -> None:
    """Shades low to high over the index, where both are finite; a wide interval does not stretch the axes."""
    closed = np.isfinite(mean[["low", "high"]].astype(float)).all(axis=1)
    for _, part in mean[closed].groupby((~closed).cumsum()[closed]):
        x, low, high = (np.asarray(column, dtype=float) for column in (part.index, part.low, part.high))
        outline = np.concatenate([np.column_stack([x, low]), np.column_stack([x, high])[::-1]])
        shade = PolyCollection([outline], facecolor=color, alpha=0.12, linewidth=0)
        axes.add_collection(shade, autolim=False)


def plain_log(axis: Axis) -> None:
    """A logarithmic axis labelled 0.1, 0.2, 0.5, 1 … over few decades, in powers of ten over many."""
    low, high = axis.get_view_interval()
    if high < 1e3 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def panel_title(axes: Axes, text: str) -> None:
    axes.set_title(style.escape(text), loc="left", pad=3)
