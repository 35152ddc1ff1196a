"""Numbers and text for reports, in plain text and in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from gatescope.analysis.statistics import Estimate

NOTHING = "–"
"""Stands for a missing value."""


def number(value: float | None) -> str:
    """Format a number without an interval: three significant digits, three decimals between 0.1 and 1."""
    return NOTHING if value is None else _format(value, abs(value))


def count(value: float) -> str:
    """Format a count, such as "50,000"."""
    return NOTHING if not math.isfinite(value) else f"{value:,.0f}"


def interval(estimate: Estimate, sign: bool = False) -> str:
    """Format a mean with its interval, to two significant digits of its width: "0.746 [0.740, 0.751]".

    Args:
        estimate: an estimate; one without an interval is formatted without brackets.
        sign: whether positive numbers get a plus sign.
    """
    values = (estimate.mean, estimate.low, estimate.high)
    scale = max((abs(v) for v in values if math.isfinite(v)), default=math.nan)
    decimals = _decimals(estimate)
    mean, low, high = (
        ("+" if sign and 0 < v < math.inf else "") + _format(v, scale, decimals) for v in values
    )
    return mean if math.isnan(estimate.low) else f"{mean} [{low}, {high}]"


def _decimals(estimate: Estimate) -> int | None:
    """Return the decimals that show two significant digits of an interval's width; None without an interval.

    Where the interval excludes 0, at least two significant digits of the mean and one of its bound nearest to
    0 are shown: 0.0031 [0.0008, 0.0543].
    """
    mean, low, high = estimate.mean, estimate.low, estimate.high
    widths = [width for width in (high - low, 2 * (mean - low), 2 * (high - mean)) if math.isfinite(width)]
    if not widths or max(widths) <= 0:
        return None
    decimals = 1 - _exponent(widths[0])
    if low * high > 0:
        nearest = min(abs(low), abs(high))
        decimals = max(decimals, 1 - _exponent(mean), -_exponent(nearest) if nearest > 1e-4 else 0)
    return max(0, decimals)


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _format(value: float, scale: float, decimals: int | None = None) -> str:
    """Format a number to given decimals, or to three significant digits of numbers as large as `scale`."""
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else "−∞" if value < 0 else "∞"
    if scale and not -4 <= _exponent(scale) <= 6:
        return f"{value:.1e}".replace("-", "−")
    if decimals is None:
        if scale == 0:
            return "0"
        decimals = 3 if scale >= 0.1 and scale <= 1 else max(0, 2 - _exponent(scale))
    text = f"{value:,.{decimals}f}".replace("-", "−")
    return text.removeprefix("−") if not text.strip("−0.,") else text


def p_value(p: float) -> str:
    """Format a p value with three decimals."""
    if math.isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def cell(text: object) -> str:
    """Escape text inside a Markdown table: no pipe, no line break."""
    return str(text).replace("|", "\\|").replace("\r", " ").replace("\n", " ")


def literal(text: object) -> str:
    """Escape text of the data in Markdown: it contains no markup, link, image or emoji.

    A colon is escaped only where it makes a link (`https://`) or an emoji (`:tada:`) on GitHub.
    """
    colon = r":(?=//|[\w+-]+:)"
    return re.sub(rf"([\\`*_\[\]<>|~&!@$]|{colon})", r"\\\1", str(text).replace("\r", " ").replace("\n", " "))


def join_words(items: Iterable[str]) -> str:
    """Join words as in "a, b and c"."""
    words = list(items)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
