"""An explanation in the terminal: tokens under bars, in colour where the terminal supports it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator

from gatescope.explain.explanation import Explanation
from gatescope.explain.numbers import texts
from gatescope.explain.rows import Row
from gatescope.terminal import cells, pad

BARS = " ▁▂▃▄▅▆▇█"
SHADES = (231, 224, 217, 210, 203)
"""Terminal colours (of 256) from white to red, for small to large values."""


def strip(explanation: Explanation, colour: bool = False, width: int | None = None) -> str:
    """Format an explanation as text: the prediction, probabilities, and bars by step for each measure.

    Args:
        explanation: the explanation.
        colour: whether to colour the steps; the colour shows the same number as the bar.
        width: number of characters in a line; by default that of the terminal.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    lines = [f"{explanation.run}", f"{explanation.title}", "", f"  {explanation.prediction}"]
    if explanation.target is not None:
        lines[-1] += f"   (truth: {explanation.target})"
    for name, probability in sorted(explanation.probabilities.items(), key=lambda item: -item[1]):
        lines.append(f"  {probability:6.1%}  {bar(probability, min(24, width // 3))}  {name}")
    for row in explanation.rows:
        if ":" not in row.name:
            lines += ["", row.name, *_row_lines(explanation.steps, row, colour, width)]
    return "\n".join(lines) + "\n"


def bar(share: float, length: int) -> str:
    """Return a bar of this length, filled up to a share from 0 to 1."""
    return ("█" * round(share * length)).ljust(length, "·")


def _row_lines(steps: list[str], row: Row, colour: bool, width: int) -> Iterator[str]:
    """Yield lines of bars, steps and numbers, wrapped at the width."""
    largest = max((abs(value) for value in row.values if value is not None), default=0.0) or 1.0
    columns = []
    for step, value, number in zip(steps, row.values, texts(row.values, row.signed), strict=True):
        share = 0.0 if value is None else abs(value) / largest
        size = max(cells(step), len(number))
        level = math.ceil(share * (len(BARS) - 1))
        label = pad(step, size)
        if colour:
            label = f"\x1b[30;48;5;{SHADES[round(share * (len(SHADES) - 1))]}m{label}\x1b[0m"
        columns.append((size, (BARS[level] * size, label, number.ljust(size))))
    line: list[tuple[str, str, str]] = []
    used = 2
    for size, column in columns:
        if line and used + size + 1 > width:
            yield from _transposed(line)
            line, used = [], 2
        line.append(column)
        used += size + 1
    yield from _transposed(line)


def _transposed(columns: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the three lines of a row of cells."""
    for part in zip(*columns, strict=True):
        yield ("  " + " ".join(part)).rstrip()
