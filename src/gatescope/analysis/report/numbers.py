"""Numbers and text for reports, in plain text and in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from gatescope.analysis.statistics import Estimate

NOTHING = "–"
"""Stands for a missing value."""


def number(value: float | None) -> str:
    """Format a number with three decimals near 1 and as many significant digits elsewhere."""
    return NOTHING if value is None else _format(value, abs(value))


def count(value: float) -> str:
    """Format a count, such as "50,000"."""
    return NOTHING if not math.isfinite(value) else f"{value:,.0f}"


def interval(estimate: Estimate, sign: bool = False) -> str:
    """Format a mean with its interval to the same decimals, such as "0.712 [0.700, 0.724]".

    Args:
        estimate: an estimate; one without an interval is formatted without brackets.
        sign: whether positive numbers get a plus sign.
    """
    values = (estimate.mean, estimate.low, estimate.high)
    scale = max((abs(v) for v in values if math.isfinite(v)), default=math.nan)
    mean, low, high = (("+" if sign and v > 0 else "") + _format(v, scale) for v in values)
    return mean if math.isnan(estimate.low) else f"{mean} [{low}, {high}]"


def _format(value: float, scale: float) -> str:
    """Format a number to the decimals of numbers as large as `scale`."""
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else "−∞" if value < 0 else "∞"
    exponent = 0 if scale == 0 else math.floor(math.log10(scale))
    if not -4 <= exponent <= 6:
        return f"{value:.2e}".replace("-", "−")
    decimals = min(3, 3 - exponent) if exponent >= 0 else 2 - exponent
    return f"{value:.{max(0, decimals)}f}".replace("-", "−")


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
