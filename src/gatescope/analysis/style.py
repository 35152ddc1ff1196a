"""The style of each variant in figures: the cell sets colour and marker, the attention line style and fill.

Colours differ in luminance, so that they can be distinguished in greyscale and by colour-blind readers;
markers and line styles repeat the information. A variant that is not listed gets a style that depends on its
name only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

COLUMN, TWO_COLUMNS = 3.3, 6.9
"""Width in inches of a figure in one column of a paper, and across two columns."""

LineStyle = str | tuple[int, tuple[float, ...]]

CELLS: dict[str, tuple[str, str, str]] = {
    "rnn": ("RNN", "#1b1b1b", "o"),
    "rnn_relu": ("RNN (ReLU)", "#5c5c5c", "v"),
    "irnn": ("IRNN", "#7b1f5c", "v"),
    "gru": ("GRU", "#c8500a", "s"),
    "gru_article": ("GRU (article)", "#8a3400", "p"),
    "lstm": ("LSTM", "#1f5fa8", "^"),
    "lstm_chrono": ("LSTM (chrono)", "#54a4e4", "<"),
    "lstm_forget_one": ("LSTM (forget bias 1)", "#3d7fc4", ">"),
    "peephole_lstm": ("Peephole LSTM", "#0b3c78", "h"),
    "mingru": ("minGRU", "#e8a33d", "D"),
    "minlstm": ("minLSTM", "#4fc7a6", "P"),
    "rglru": ("RG-LRU", "#2e7d32", "H"),
    "lru": ("LRU", "#a3195b", "d"),
    "tfidf_logistic": ("TF-IDF + logistic regression", "#555555", "x"),
    "series_logistic": ("Summaries + logistic regression", "#6b6b6b", "+"),
    "series_ridge": ("Summaries + ridge regression", "#828282", "1"),
    "majority": ("Majority", "#a0a0a0", "_"),
}
"""Label, colour and marker by cell."""

Fill = Literal["full", "none", "left", "right", "bottom", "top"]

ATTENTIONS: dict[str, tuple[str, LineStyle, Fill]] = {
    "none": ("", "-", "full"),
    "mean": ("mean pooling", (0, (1.0, 1.2)), "right"),
    "max": ("max pooling", (0, (3.0, 1.2, 1.0, 1.2)), "bottom"),
    "additive": ("additive attention", (0, (4.0, 1.6)), "none"),
    "dot": ("dot attention", (0, (5.0, 1.4, 1.0, 1.4)), "left"),
    "scaled_dot": ("scaled dot attention", (0, (1.6, 1.6)), "top"),
    "general": ("general attention", (0, (6.0, 1.2, 1.0, 1.2, 1.0, 1.2)), "top"),
    "uniform": ("uniform weights", (0, (2.5, 1.0)), "right"),
    "adversarial": ("adversarial attention", (0, (2.0, 1.0, 1.0, 1.0)), "top"),
    "frozen_random": ("frozen random weights", (0, (1.0, 2.4)), "bottom"),
}
"""Label, line style and filled part of the marker, by attention."""

DECODERS = {"recurrent": "recurrent decoder", "input_feeding": "decoder with input feeding"}
"""Label by decoder, where a study compares several."""

FALLBACK_COLORS = ("#4a2f8f", "#9a6a00", "#b03a6a", "#6f8f2a", "#2a6f6f", "#9aa5c9")
FALLBACK_MARKERS = ("X", "d", "*", "H", "p", "8")

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "gatescope",
    "pdf.fonttype": 42,
}
"""Settings of matplotlib for every figure. Fonts are embedded, and ids in SVG do not depend on the clock."""


@dataclass(frozen=True)
class VariantStyle:
    """How one variant is drawn."""

    label: str
    color: str
    linestyle: LineStyle
    marker: str
    fill: Fill

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot` for a line without markers."""
        return {"color": self.color, "linestyle": self.linestyle}

    @property
    def points(self) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot` for markers without a line."""
        hollow = self.fill == "none"  # filled with white, which hides what is behind it
        return {
            "color": self.color,
            "linestyle": "none",
            "marker": self.marker,
            "fillstyle": "full" if hollow else self.fill,
            "markerfacecolor": "white" if hollow else self.color,
            "markerfacecoloralt": "white",
            "markeredgewidth": 0.8,
        }


def split(variant: str) -> tuple[str, str]:
    """Split the name of a variant into (cell, attention).

    A name that does not end in a known attention gives (name, "none").
    """
    cell, dash, attention = variant.rpartition("-")
    return (cell, attention) if dash and attention in ATTENTIONS else (variant, "none")


def style_of(variant: str) -> VariantStyle:
    """Return the style of one variant, the same in every figure of every study."""
    cell, attention = split(variant)
    attention_label, linestyle, fill = ATTENTIONS[attention]
    name, color, marker = CELLS.get(cell) or (cell, *_fallback_styles(cell)[0])
    label = f"{name}, {attention_label}" if attention_label else _with_decoder(name)
    return VariantStyle(escape(label), color, linestyle, marker, fill)


def _with_decoder(name: str) -> str:
    """Return the label of a name such as "gru-additive-recurrent", which ends in a decoder."""
    variant, _, decoder = name.rpartition("-")
    cell, attention = split(variant)
    if decoder not in DECODERS or cell not in CELLS:
        return name
    return ", ".join(filter(None, [CELLS[cell][0], ATTENTIONS[attention][0], DECODERS[decoder]]))


def styles_of(variants: Iterable[str]) -> dict[str, VariantStyle]:
    """Return the styles of several variants in the order of `order`; all of them are different."""
    result: dict[str, VariantStyle] = {}
    used: set[tuple[str, str]] = set()
    by_cell: dict[str, tuple[str, str]] = {}
    for variant in order(variants):
        own, cell = style_of(variant), split(variant)[0]
        if cell not in by_cell:
            options = [(own.color, own.marker), *(_fallback_styles(cell) if cell not in CELLS else ())]
            by_cell[cell] = next((option for option in options if option not in used), options[0])
            used.add(by_cell[cell])
        color, marker = by_cell[cell]
        result[variant] = replace(own, color=color, marker=marker)
    return result


def order(variants: Iterable[str]) -> list[str]:
    """Sort variants for figures and tables, each once.

    Cells of `CELLS` come first, in its order, then other cells by name; within a cell, variants are sorted by
    attention.
    """
    cells, attentions = list(CELLS), list(ATTENTIONS)

    def key(variant: str) -> tuple[int, str, int]:
        cell, attention = split(variant)
        return (cells.index(cell) if cell in CELLS else len(cells), cell, attentions.index(attention))

    return sorted(set(variants), key=key)


def escape(text: str) -> str:
    """Escape the dollar signs of a text, which matplotlib would take as the start of mathematics."""
    return text.replace("$", r"\$")


def _fallback_styles(cell: str) -> list[tuple[str, str]]:
    """Return all (colour, marker) for an unlisted cell, beginning at one that depends on its name."""
    options = [(c, m) for m, c in product(FALLBACK_MARKERS, FALLBACK_COLORS)]
    start = int(hashlib.sha256(cell.encode()).hexdigest(), 16) % len(options)
    return options[start:] + options[:start]
