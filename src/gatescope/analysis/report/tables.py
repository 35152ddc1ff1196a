"""The tables of a report in Markdown, CSV and LaTeX (booktabs).

`tables/variants.*`, `tables/differences.*`, and `tables/selection.*` of a study that selects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report import numbers
from gatescope.analysis.statistics import Estimate

TEX = {"−": r"\ensuremath{-}", "∞": r"\ensuremath{\infty}", "–": "--", "λ": r"\ensuremath{\lambda}"}
"""Characters that the LaTeX escaping keeps and plain pdflatex cannot typeset."""

BETWEEN = "between embedding and head"
"""Parameters of the recurrent stack, attention, and a decoder without its embedding and last map."""


@dataclass(frozen=True)
class ReportTable:
    """A table as text and as numbers.

    Attributes:
        text: formatted cells; the best ones are between asterisks, as in Markdown.
        values: the same as numbers, unrounded.
    """

    text: pd.DataFrame
    values: pd.DataFrame


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write each table in three formats; empty ones are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    tables = {
        "variants": variants(comparison),
        "differences": differences(comparison),
        "selection": selection(comparison),
    }
    for name, table in tables.items():
        stem = folder / name
        if table.text.empty:
            for kind in (".md", ".csv", ".tex"):
                stem.with_suffix(kind).unlink(missing_ok=True)
            continue
        formats = {
            ".md": markdown(table.text.columns, table.text.to_numpy().tolist()) + "\n",
            ".csv": table.values.to_csv(index=False, lineterminator="\n"),
            ".tex": latex(table.text),
        }
        for kind, text in formats.items():
            stem.with_suffix(kind).write_text(text, encoding="utf-8")
            paths.append(stem.with_suffix(kind))
    return paths


def variants(comparison: Comparison) -> ReportTable:
    """Return a row per variant and condition; a value ahead of all other variants' is bold."""
    rows, values = [], []
    for one in comparison.summaries:
        key = {"variant": one.variant, "condition": one.condition}
        if comparison.selection is not None:
            key["chosen"] = comparison.chosen.get((one.variant, one.condition), "")
        estimates = one.metrics | {"seconds_per_epoch": one.seconds_per_epoch}
        texts = {
            name.replace("_", " "): _bold(
                numbers.interval(estimate),
                comparison.ahead_of_all.get((name, one.condition)) == one.variant,
            )
            for name, estimate in estimates.items()
        }
        sizes = {
            "parameters": numbers.count(one.parameters),
            BETWEEN: numbers.count(one.between_parameters),
            "n": str(one.n),
        }
        rows.append(key | texts | sizes)
        values.append(
            key
            | _flat(estimates)
            | {"parameters": one.parameters, "between_parameters": one.between_parameters, "n": one.n}
        )
    return ReportTable(_without_empty_condition(pd.DataFrame(rows)), pd.DataFrame(values))


def differences(comparison: Comparison) -> ReportTable:
    """Return a row per contrast with the reference; a difference that may be claimed is bold."""
    rows, values = [], []
    name = f"difference in {comparison.primary}".replace("_", " ")
    for one in comparison.contrasts:
        difference = one.difference
        key = {"variant": one.variant, "minus": one.reference, "condition": one.condition}
        if comparison.selection is not None:
            key["chosen"] = comparison.selection.against(one.variant, one.reference, one.condition)
        texts = {
            name: _bold(numbers.interval(difference.estimate, sign=True), one.holds),
            "P(A > B)": numbers.number(difference.superiority),
            "p": numbers.p_value(one.adjusted_p),
            "pairs": str(difference.estimate.n),
        }
        rows.append(key | texts | {"verdict": one.judgement})
        values.append(
            key
            | vars(difference.estimate)
            | {
                "superiority": difference.superiority,
                "p": one.adjusted_p,
                "verdict": one.verdict,
                "seeds_needed": one.seeds_needed,
            }
        )
    return ReportTable(_without_empty_condition(pd.DataFrame(rows)), pd.DataFrame(values))


def selection(comparison: Comparison) -> ReportTable:
    """Return a row per variant, condition and candidate value; empty for a study that selects nothing."""
    rows, values = [], []
    chosen_by = comparison.selection
    for one in () if chosen_by is None else chosen_by.grid:
        assert chosen_by is not None
        estimates = {chosen_by.by: one.validation, comparison.primary: one.test}
        key = {"variant": one.variant, "condition": one.condition, "value": one.value}
        texts = {name.replace("_", " "): numbers.interval(estimate) for name, estimate in estimates.items()}
        n = {"n": f"{one.validation.n} of {one.seeds}"}
        rows.append(key | texts | n | {"chosen": "**yes**" if one.chosen else ""})
        values.append(
            key | _flat(estimates) | {"n": one.validation.n, "seeds": one.seeds, "chosen": one.chosen}
        )
    return ReportTable(_without_empty_condition(pd.DataFrame(rows)), pd.DataFrame(values))


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    return {f"{name}/{part}": value for name, one in estimates.items() for part, value in vars(one).items()}


def _without_empty_condition(table: pd.DataFrame) -> pd.DataFrame:
    if "condition" in table and not table.condition.any():
        return table.drop(columns="condition")
    return table


def markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Format a Markdown table; there is no line break after the last row."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(numbers.cell, line)) + " |" for line in lines)


def latex(table: pd.DataFrame) -> str:
    r"""Format a booktabs `tabular` (\usepackage{booktabs}); cells between asterisks are bold."""
    bold = table.map(lambda text: text.startswith("**"))
    plain = table.map(lambda text: text.removeprefix("**").removesuffix("**"))
    styler = plain.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    styler = styler.apply(lambda _: bold.map(lambda on: "textbf:--rwrap;" if on else ""), axis=None)
    text = str(styler.to_latex(hrules=True, column_format="l" * len(table.columns)))
    for character, command in TEX.items():
        text = text.replace(character, command)
    return text
