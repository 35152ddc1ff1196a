"""The numbers of an explanation as text: one format, with as many decimals as the largest of a row needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

DIGITS, MOST_DECIMALS = 3, 8
"""Significant digits of the largest number of a row, and the largest number of decimals."""


def texts(values: Sequence[float | None], signed: bool = False) -> list[str]:
    """Return the numbers of a row with equal decimals; a dash for None.

    Args:
        values: The numbers.
        signed: Whether positive numbers get a plus sign.
    """
    places = decimals(values)
    return ["–" if value is None else _text(value, places, signed) for value in values]


def decimals(values: Sequence[float | None]) -> int:
    """Return the number of decimals with which the largest number has `DIGITS` significant digits."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    if not largest or not math.isfinite(largest):
        return DIGITS - 1
    return min(MOST_DECIMALS, max(0, DIGITS - 1 - math.floor(math.log10(largest))))


def _text(value: float, places: int, signed: bool) -> str:
    text = f"{value:.{places}f}"
    if math.isfinite(value) and not float(text):
        return text.removeprefix("-")
    return f"+{text}" if signed and value > 0 else text.replace("-", "−")
