"""Numbers in words and in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from gatescope.analysis.statistics import Estimate

NOTHING = "–"


def number(value: float | None) -> str:
    """Three decimals near one, as many significant digits elsewhere; a dash for no value."""
    return NOTHING if value is None else _write(value, abs(value))


def count(value: float) -> str:
    """ "50,000"; a dash for no value."""
    return NOTHING if not math.isfinite(value) else f"{value:,.0f}"


def interval(estimate: Estimate, sign: bool = False) -> str:
    """ "0.712 [0.700, 0.724]", to the same decimals; no bracket where one seed gives no interval."""
    values = (estimate.mean, estimate.low, estimate.high)
    scale = max((abs(v) for v in values if math.isfinite(v)), default=math.nan)
    mean, low, high = (("+" if sign and v > 0 else "") + _write(v, scale) for v in values)
    return mean if math.isnan(estimate.low) else f"{mean} [{low}, {high}]"


def _write(value: float, scale: float) -> str:
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else "−∞" if value < 0 else "∞"
    exponent = 0 if scale == 0 else math.floor(math.log10(scale))
    if not -4 <= exponent <= 6:
        return f"{value:.2e}".replace("-", "−")
    decimals = min(3, 3 - exponent) if exponent >= 0 else 2 - exponent
    return f"{value:.{max(0, decimals)}f}".replace("-", "−")


def p_value(p: float) -> str:
    if math.isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def cell(text: object) -> str:
    """Text inside a Markdown table: no pipe, no line break."""
    return str(text).replace("|", "\\|").replace("\r", " ").replace("\n", " ")


def literal(text: object) -> str:
    """Text of the data in Markdown: nothing in it is a mark, a link or an image."""
    return re.sub(r"([\\`*_\[\]<>|~&!@:$])", r"\\\1", str(text).replace("\r", " ").replace("\n", " "))


def listed(items: Iterable[str]) -> str:
    """ "a, b and c"."""
    words = list(items)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
