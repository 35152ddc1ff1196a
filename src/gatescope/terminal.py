"""Columns of texts in a terminal, where characters of some scripts are two cells wide, and marks none."""

from __future__ import annotations

import unicodedata


def cells(text: str) -> int:
    """Return the number of cells that a text takes in a terminal."""
    return sum(map(_cells, text))


def pad(text: str, size: int) -> str:
    """Return a text followed by spaces up to a number of cells."""
    return text + " " * (size - cells(text))


def pad_left(text: str, size: int) -> str:
    """Return a text preceded by spaces up to a number of cells."""
    return " " * (size - cells(text)) + text


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
