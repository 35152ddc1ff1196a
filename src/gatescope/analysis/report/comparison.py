"""In words: which variant is ahead, by how much, and where the variants stand against the baseline."""

from __future__ import annotations

from collections.abc import Iterable

from gatescope.analysis.figures.base import words
from gatescope.analysis.report.compare import (
    Compared,
    against_baseline,
    higher_is_better,
    leader,
    primary,
    rows,
)
from gatescope.analysis.report.numbers import interval, listed, number
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import ENOUGH_SEEDS

TITLE = "In words"


def paragraphs(tables: Tables) -> list[str]:
    conditions = sorted(tables.runs.condition.unique())
    return [*(_ahead(tables, condition) for condition in conditions), *_baseline(tables)]


def _ahead(tables: Tables, condition: str) -> str:
    found = leader(tables, condition)
    place = f" under {condition}" if condition else ""
    name = words(primary(tables))
    if found is None:
        return f"No run has a finite {name}{place}."
    best, compared = found
    row = next(row for row in rows(tables) if (row.variant, row.condition) == (best, condition))
    extreme = "highest" if higher_is_better(tables) else "lowest"
    mean = interval(row.metrics[primary(tables)])
    text = f"**{best}** has the {extreme} mean {name}{place}: {mean} (n = {row.n})."
    return " ".join([text, *_groups(compared)])


def _groups(compared: list[Compared]) -> list[str]:
    by_verdict = {kind: [c for c in compared if c.verdict == kind] for kind in {c.verdict for c in compared}}
    sentences = []
    if ahead := by_verdict.get("ahead"):
        sentences.append(f"It is ahead of {_others(ahead)}.")
    if level := by_verdict.get("no difference beyond seeds"):
        sentences.append(f"Against {_others(level)} there is no difference beyond seeds.")
    if few := by_verdict.get("not enough seeds"):
        sentences.append(
            f"Against {_others(few)}: not enough seeds for a verdict (fewer than {ENOUGH_SEEDS} pairs)."
        )
    return sentences


def _others(compared: Iterable[Compared]) -> str:
    return listed(f"{c.difference.b} ({interval(c.difference.estimate, sign=True)})" for c in compared)


def _baseline(tables: Tables) -> list[str]:
    found = against_baseline(tables)
    if not found:
        return []
    baseline = tables.study["baseline"]
    source = f" ({baseline['source']})" if baseline.get("source") else ""
    text = f"The baseline, {baseline['name']}{source}, stands at {number(float(baseline['value']))}."
    order = {
        "ahead": "Above it beyond seeds",
        "no difference beyond seeds": "Not told apart from it by these seeds",
        "behind": "Below it beyond seeds",
        "not enough seeds": "Not enough seeds for a verdict",
    }
    if not higher_is_better(tables):
        order["ahead"], order["behind"] = order["behind"], order["ahead"]
    for kind, phrase in order.items():
        group = [(row, difference) for row, difference, said in found if said == kind]
        if group:
            named = listed(
                f"{' under '.join(filter(None, [row.variant, row.condition]))} "
                f"({interval(difference.estimate, sign=True)})"
                for row, difference in group
            )
            text += f" {phrase}: {named}."
    return [text]
