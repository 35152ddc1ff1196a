"""The tables of a report in Markdown, CSV and LaTeX (booktabs).

`tables/variants.*`, `tables/differences.*`, and `tables/selection.*` of a study that selects. The CSV has raw
names, as records and commands do; the others have them in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.report import numbers
from gatescope.analysis.report.latex import latex
from gatescope.analysis.statistics import LEVEL_TEXT, Estimate
from gatescope.tracking.predictions import escape_formula

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
    captions = captions_of(comparison)
    for name, table in tables.items():
        stem = folder / name
        if table.text.empty:
            for kind in (".md", ".csv", ".tex"):
                stem.with_suffix(kind).unlink(missing_ok=True)
            continue
        text = in_words(table.text)
        formats = {
            ".md": markdown(text.columns, text.to_numpy().tolist()) + "\n",
            ".csv": csv(table.values),
            ".tex": latex(text, captions[name], f"tab:{comparison.study['name']}-{name}"),
        }
        for kind, content in formats.items():
            stem.with_suffix(kind).write_text(content, encoding="utf-8")
            paths.append(stem.with_suffix(kind))
    return paths


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of formatted cells with variants, conditions and headings in words."""
    readers: dict[str, Callable[[str], str]] = {"variant": words.variant, "minus": words.variant}
    readers |= {name: words.chosen for name in ("condition", "chosen", "value")}
    named = {name: table[name].map(reader) for name, reader in readers.items() if name in table}
    if "chosen" in table and (table.chosen == "**yes**").any():  # whether a candidate is chosen, not which
        del named["chosen"]
    return table.assign(**named).rename(columns=heading)


def heading(name: object) -> str:
    """Return the heading of a column in words: "test macro F1" for "test/macro f1"."""
    text = str(name)
    if "/" not in text:
        return text
    before, _, metric = text.rpartition(" in ")
    own = words.metric(metric.replace(" ", "_"))
    return f"{before} in {own}" if before else own


def captions_of(comparison: Comparison) -> dict[str, str]:
    """Return the caption of each table in LaTeX."""
    primary, unit, question = (
        words.metric(comparison.primary),
        comparison.unit,
        comparison.study.get("question"),
    )
    reference = words.variant(comparison.reference)
    better = "higher" if comparison.higher_is_better else "lower"
    bold = f"Bold: significantly ahead of every other variant ({better} is better)."
    result = {
        "variants": f"Mean over {unit}s with its {LEVEL_TEXT} interval; n: number of {unit}s. {bold}",
        "differences": f"Each variant minus {reference} in {primary}, paired by {unit}, with simultaneous "
        f"intervals of {LEVEL_TEXT} and adjusted p. Bold: the verdict holds.",
    }
    if comparison.selection is not None:
        over = ", ".join(map(words.key, comparison.selection.over))
        result["selection"] = f"Candidates for {over}, chosen by {words.metric(comparison.selection.by)}."
    asks = question and (question if question.rstrip()[-1:] in ".?!" else f"{question}.")
    return {name: f"{asks} {text}" if asks else text for name, text in result.items()}


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
        rows.append(key | texts | {"verdict": judgement(one, comparison.unit)})
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


def judgement(contrast: Contrast, unit: str) -> str:
    """Return the judgement of a contrast in the words of its unit: "not enough folds", for example."""
    return contrast.judgement.replace("seeds", f"{unit}s")


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


def csv(table: pd.DataFrame, digits: str | None = None) -> str:
    """Format a table as CSV in which a spreadsheet takes no name or text for a formula.

    Args:
        table: the table.
        digits: format of numbers, such as "%.6g"; default: exact.
    """
    texts = {str(name): table[name].map(_safe) for name in table if table[name].dtype.kind not in "iufb"}
    safe = table.assign(**texts).rename(columns=_safe)
    return str(safe.to_csv(index=False, float_format=digits, lineterminator="\n"))


def _safe(value: Any) -> Any:
    return escape_formula(value) if isinstance(value, str) else value
