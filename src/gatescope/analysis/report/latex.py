r"""Tables of a report in LaTeX, with `\usepackage{booktabs}`."""

from __future__ import annotations

import re

import pandas as pd

CHARACTERS = {
    "−": r"\ensuremath{-}", "∞": r"\ensuremath{\infty}", "±": r"\ensuremath{\pm}", "–": "--",
    "…": r"\dots{}", "λ": r"\ensuremath{\lambda}", "τ": r"\ensuremath{\tau}", "×": r"\ensuremath{\times}",
    "₅₀": r"\textsubscript{50}",
}  # fmt: skip
"""Characters that the escaping keeps and pdflatex has in no font."""


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """Format a table with caption and label; cells between asterisks are bold.

    Args:
        table: formatted cells.
        caption: what the table shows.
        label: such as "tab:first_light-variants".
    """
    bold = table.map(lambda text: text.startswith("**"))
    plain = table.map(lambda text: text.removeprefix("**").removesuffix("**"))
    styler = plain.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    styler = styler.apply(lambda _: bold.map(lambda on: "textbf:--rwrap;" if on else ""), axis=None)
    text = str(
        styler.to_latex(
            hrules=True,
            column_format="".join("l" if _is_text(plain[name]) else "r" for name in plain),
            caption=escape(caption),
            label=re.sub(r"[^\w:.-]", "-", label, flags=re.ASCII),
            position="htbp",
            position_float="centering",
        )
    )
    return _typeset(text)


def escape(text: str) -> str:
    """Return text that LaTeX shows as it is."""
    cell = pd.DataFrame([[text]]).style.hide(axis="index").hide(axis="columns").format(escape="latex")
    lines = cell.to_latex().splitlines()
    return lines[1].removesuffix(r"\\").strip()


def _is_text(column: pd.Series) -> bool:
    """Return whether a column is aligned to the left: its cells do not begin with a number."""
    return not column.str.match(r"^([-+−–]?[\d∞]|< |–|$)").all()


def _typeset(text: str) -> str:
    for character, command in CHARACTERS.items():
        text = text.replace(character, command)
    return text
