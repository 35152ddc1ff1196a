"""A prediction in a terminal: tokens under bars, in colour where the terminal has it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator

from gatescope.explain.explanation import Explanation, Row

BARS = " ▁▂▃▄▅▆▇█"
SHADES = (231, 224, 217, 210, 203)
"""Of the 256 colours, from white to red: the more, the redder."""


def strip(found: Explanation, colour: bool = False, width: int | None = None) -> str:
    """The answer with its probabilities, and a strip of steps by what the prediction rests on.

    The height of the bar above a step says what its colour says. `width` in characters, the terminal's own
    by default.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    lines = [f"{found.run}", f"{found.asked}", "", f"  {found.answer}"]
    if found.target is not None:
        lines[-1] += f"   (truth: {found.target})"
    for name, probability in sorted(found.probabilities.items(), key=lambda item: -item[1]):
        lines.append(f"  {probability:6.1%}  {bar(probability, min(24, width // 3))}  {name}")
    for row in found.rows:
        if ":" not in row.name:
            lines += ["", row.name, *_blocks(found.steps, row, colour, width)]
    return "\n".join(lines) + "\n"


def bar(share: float, length: int) -> str:
    """A share of 1 as a bar."""
    return ("█" * round(share * length)).ljust(length, "·")


def _blocks(steps: list[str], row: Row, colour: bool, width: int) -> Iterator[str]:
    """Lines of bars, steps and numbers, broken where the terminal ends."""
    most = max((abs(value) for value in row.values if value is not None), default=0.0) or 1.0
    cells = []
    for step, value in zip(steps, row.values, strict=True):
        share = 0.0 if value is None else abs(value) / most
        number = "–" if value is None else f"{value:.2f}" if most >= 0.01 else f"{value:.0e}"
        size = max(len(step), len(number))
        level = math.ceil(share * (len(BARS) - 1))
        shown = step.ljust(size)
        if colour:
            shown = f"\x1b[30;48;5;{SHADES[round(share * (len(SHADES) - 1))]}m{shown}\x1b[0m"
        cells.append((size, (BARS[level] * size, shown, number.ljust(size))))
    line: list[tuple[str, str, str]] = []
    used = 2
    for size, cell in cells:
        if line and used + size + 1 > width:
            yield from _lines(line)
            line, used = [], 2
        line.append(cell)
        used += size + 1
    yield from _lines(line)


def _lines(cells: list[tuple[str, str, str]]) -> Iterator[str]:
    for part in zip(*cells, strict=True):
        yield ("  " + " ".join(part)).rstrip()
