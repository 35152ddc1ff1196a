"""How numbers are written in a user's table: the mark before the decimals, and that between thousands."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

from gatescope.data.errors import DataError

Decimal = Literal["auto", "point", "comma"]
"""The mark before the decimals; auto: a comma in columns that have numbers with one, else a point."""
Thousands = Literal["auto", "none", "point", "comma", "blank", "apostrophe"]
"""The mark between thousands; auto: a point where the decimals have a comma, else none."""
MARKS = {"point": ".", "comma": ",", "blank": " ", "apostrophe": "'"}
DECIMAL_COMMA = re.compile(r"\s*[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+\s*")
"""A number with a decimal comma, such as 1.234,50; points divide thousands."""
THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(\.\d{3})+\s*")
BLANKS = str.maketrans("\u00a0\u2009\u202f\u2019", "   '")
"""The blanks of different widths and the apostrophe that word processors put between thousands."""


@lru_cache(maxsize=16)
def number_reader(decimal: Decimal, thousands: Thousands) -> Callable[[str], float | None] | None:
    """Return a function that reads a number; None where both marks are to be found in the file.

    The function returns None for a text that is no number in this form, such as 1.5 where the decimals have a
    comma.

    Args:
        decimal: The mark before the decimals; with auto, the one that `thousands` leaves.
        thousands: The mark between thousands.

    Raises:
        DataError: Both are the same mark.
    """
    if decimal == "auto" and thousands == "auto":
        return None
    if decimal == thousands:
        raise DataError(f"data.thousands: given {thousands}, which is data.decimal: they are different marks")
    comma = decimal == "comma" or (decimal == "auto" and thousands == "point")
    if thousands == "auto":
        thousands = "point" if comma else "none"
    mark, between = "," if comma else ".", MARKS.get(thousands, "")
    whole = rf"\d{{1,3}}(?:{re.escape(between)}\d{{3}})+|\d+" if between else r"\d+"
    form = re.compile(rf"[+-]?(?:(?:{whole})(?:{re.escape(mark)}\d*)?|{re.escape(mark)}\d+)(?:[eE][+-]?\d+)?")

    def read(text: str) -> float | None:
        plain = text.strip().translate(BLANKS)
        if not form.fullmatch(plain):
            return None
        return float((plain.replace(between, "") if between else plain).replace(mark, "."))

    return read


def in_form(value: Any, read: Callable[[str], float | None] | None) -> tuple[Any, str]:
    """Return a value of a column of numbers with a number in place of its text, and what is wrong with it.

    An empty text and a value that is no text, such as a number of JSON, stay as they are.

    Args:
        value: The value.
        read: Result of `number_reader`; None for a column in which decimal commas were found, where a text
            becomes one that Python reads, 1234.50 for 1.234,50.
    """
    if not isinstance(value, str) or not value.strip():
        return value, ""
    if read is None:
        is_german = DECIMAL_COMMA.fullmatch(value) or THOUSANDS.fullmatch(value)
        return (value.replace(".", "").replace(",", ".") if is_german else value), ""
    number = read(value)
    if number is None:
        return value, f"{value[:40]!r} is not a number as data.decimal and data.thousands say"
    return number, ""
