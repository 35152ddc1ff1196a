"""A report's tables in Markdown, CSV and LaTeX (booktabs): `tables/variants.*`, `tables/differences.*`, and
`tables/selection.*` of a study that selects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from gatescope.analysis import contrasts, study
from gatescope.analysis.report import numbers
from gatescope.analysis.runs import Tables
from gatescope.analysis.selection import Selection
from gatescope.analysis.statistics import Estimate

TEX = {"−": r"\ensuremath{-}", "∞": r"\ensuremath{\infty}", "–": "--", "λ": r"\ensuremath{\lambda}"}
"""What LaTeX's escaping leaves and a plain pdflatex cannot set."""


BETWEEN = "between embedding and head"
"""Of the parameters: the recurrent stack, attention, and a decoder without its embedding and last map."""


def write(tables: Tables, folder: Path, selection: Selection | None = None) -> list[Path]:
    """Writes each table in three forms; a study of one variant has no differences."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, shown, values in (
        ("variants", *variants(tables, selection)),
        ("differences", *differences(tables, selection)),
        ("selection", *grid(tables, selection)),
    ):
        stem = folder / name
        if shown.empty:
            for stale in (stem.with_suffix(kind) for kind in (".md", ".csv", ".tex")):
                stale.unlink(missing_ok=True)
            continue
        texts = {
            ".md": markdown(shown.columns, shown.to_numpy().tolist()) + "\n",
            ".csv": values.to_csv(index=False, lineterminator="\n"),
            ".tex": latex(shown),
        }
        for kind, text in texts.items():
            stem.with_suffix(kind).write_text(text, encoding="utf-8")
            paths.append(stem.with_suffix(kind))
    return paths


def variants(tables: Tables, selection: Selection | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a variant and condition: as text, the best of a column between asterisks; and as numbers."""
    marks = contrasts.best(tables)
    shown, values = [], []
    for row in contrasts.rows(tables):
        key = {"variant": row.variant, "condition": row.condition}
        if selection is not None:
            key["chosen"] = selection.chosen.get((row.variant, row.condition), "")
        estimates = row.metrics | {"seconds_per_epoch": row.seconds_per_epoch}
        texts = {
            name.replace("_", " "): f"**{text}**" if row.variant == marks.get((name, row.condition)) else text
            for name, one in estimates.items()
            for text in [numbers.interval(one)]
        }
        size = {
            "parameters": numbers.count(row.parameters),
            BETWEEN: numbers.count(row.between),
            "n": str(row.n),
        }
        shown.append(key | texts | size)
        values.append(
            key
            | _flat(estimates)
            | {"parameters": row.parameters, "between_parameters": row.between, "n": row.n}
        )
    return _without_empty_condition(pd.DataFrame(shown)), pd.DataFrame(values)


def differences(tables: Tables, selection: Selection | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a variant against the reference, as text and as numbers; bold where the difference holds."""
    shown, values = [], []
    for one in contrasts.against_reference(tables):
        difference = one.difference
        text = numbers.interval(difference.estimate, sign=True)
        key = {"variant": difference.a, "minus": difference.b, "condition": one.condition}
        if selection is not None:
            key["chosen"] = selection.against(difference.a, difference.b, one.condition)
        shown.append(
            key
            | {
                f"difference in {study.primary(tables)}".replace("_", " "): f"**{text}**"
                if one.holds
                else text,
                "P(A > B)": numbers.number(difference.superiority),
                "p (Holm)": numbers.p_value(one.adjusted_p),
                "pairs": str(difference.estimate.n),
                "verdict": one.verdict,
            }
        )
        values.append(
            key
            | vars(difference.estimate)
            | {"superiority": difference.superiority, "p_holm": one.adjusted_p, "verdict": one.verdict}
        )
    return _without_empty_condition(pd.DataFrame(shown)), pd.DataFrame(values)


def grid(tables: Tables, selection: Selection | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a variant, condition and value that could be chosen; nothing for a study that selects nothing."""
    shown, values = [], []
    for one in () if selection is None else selection.grid:
        assert selection is not None
        estimates = {selection.by: one.validation, study.primary(tables): one.test}
        key = {"variant": one.variant, "condition": one.condition, "value": one.value}
        texts = {name.replace("_", " "): numbers.interval(estimate) for name, estimate in estimates.items()}
        n = {"n": f"{one.validation.n} of {one.seeds}"}
        shown.append(key | texts | n | {"chosen": "**yes**" if one.chosen else ""})
        values.append(
            key | _flat(estimates) | {"n": one.validation.n, "seeds": one.seeds, "chosen": one.chosen}
        )
    return _without_empty_condition(pd.DataFrame(shown)), pd.DataFrame(values)


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    return {f"{name}/{part}": value for name, one in estimates.items() for part, value in vars(one).items()}


def _without_empty_condition(table: pd.DataFrame) -> pd.DataFrame:
    if "condition" in table and not table.condition.any():
        return table.drop(columns="condition")
    return table


def markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table, without a line break behind its last row."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(numbers.cell, line)) + " |" for line in lines)


def latex(table: pd.DataFrame) -> str:
    r"""A booktabs `tabular` (\usepackage{booktabs}); bold where the Markdown is."""
    bold = table.map(lambda text: text.startswith("**"))
    plain = table.map(lambda text: text.removeprefix("**").removesuffix("**"))
    styler = plain.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    styler = styler.apply(lambda _: bold.map(lambda on: "textbf:--rwrap;" if on else ""), axis=None)
    text = str(styler.to_latex(hrules=True, column_format="l" * len(table.columns)))
    for character, command in TEX.items():
        text = text.replace(character, command)
    return text
