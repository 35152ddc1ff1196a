"""All numbers of the primer, from the records of its two studies and the frozen tables of `first_light`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gatescope
from gatescope.analysis import study
from gatescope.analysis.comparison import compare
from gatescope.analysis.contrasts import paired_contrasts
from gatescope.analysis.frozen import FILE, FrozenSource
from gatescope.analysis.record_files import NoRuns
from gatescope.analysis.runs import RecordSource
from gatescope.analysis.tables import Tables
from gatescope.primer import cells, sentences, tables
from gatescope.trained import Trained

TWEETS, RECALL, COMPARED = "primer_tweets", "primer_recall", "first_light"
"""The studies of the primer, and the committed one that compares tuned cells."""
PLAIN, ATTENDING = "gru_article-none", "gru_article-additive"
DIGITS = 5
"""Significant digits of every number."""


def measure(root: str | Path, reports: str | Path) -> dict[str, Any]:
    """Return all numbers of the page.

    Args:
        root: directory of the records, with the runs of both studies.
        reports: directory of the reports, with the frozen tables of `first_light`.

    Raises:
        NoRuns: runs that the page needs are missing; the message says how to get them.
    """
    tweets = RecordSource(root, TWEETS).tables().finished()
    recall = RecordSource(root, RECALL).tables().finished()
    plain, attending = _models(tweets, PLAIN), _models(tweets, ATTENDING)
    return {
        "cells": cells.measure(),
        **sentences.measure(plain[min(plain)], attending),
        "fading": tables.fading(recall),
        "faithfulness": tables.attention(tweets),
        "scores": tables.scores(tweets),
        "compared": _compared(FrozenSource(Path(reports) / COMPARED / FILE).tables()),
        "made_with": _made_with(tweets, recall),
    }


def _models(tables: Tables, variant: str) -> dict[int, Trained]:
    """Return the models of one variant by seed."""
    runs = tables.runs[tables.runs.variant == variant].sort_values("seed")
    if runs.empty:
        raise NoRuns(f"{TWEETS} has no finished run of {variant}: python train.py study={TWEETS}")
    pairs = zip(runs.seed.tolist(), runs.directory.tolist(), strict=True)
    return {int(seed): gatescope.load(str(directory)) for seed, directory in pairs}


def _compared(tables: Tables) -> dict[str, Any]:
    """Return what tuned cells of equal size reach, and the difference of GRU and LSTM."""
    whole = compare(tables)
    (condition,) = whole.conditions
    scores = {condition: whole.scores[whole.primary, condition]}
    (one,) = paired_contrasts(scores, [("gru-none", "lstm-none")], whole.rules())
    difference, bar = one.difference.estimate, study.baseline(tables, condition)
    return {
        "scores": {variant: float(values.mean()) for variant, values in scores[condition].items()},
        "difference": {"mean": difference.mean, "low": difference.low, "high": difference.high},
        "baseline": None if bar is None else bar.value,
        "verdict": one.judgement,
        "n": difference.n,
    }


def _made_with(*studies: Tables) -> dict[str, Any]:
    """Return the number of runs, commits and versions that made the numbers."""
    versions: dict[str, str] = {}
    for one in studies:
        for own in one.versions.values():
            versions |= {name: own[name] for name in ("python", "torch") if name in own}
    return {
        "runs": {one.study["name"]: len(one.runs) for one in studies},
        "commits": sorted({str(commit)[:10] for one in studies for commit in one.runs.commit.dropna()}),
        "versions": versions,
    }


def dumps(numbers: dict[str, Any]) -> str:
    """Return the numbers as JSON; equal numbers give equal text."""
    return json.dumps(_rounded(numbers), ensure_ascii=False, indent=None, separators=(",", ":")) + "\n"


def _rounded(value: Any) -> Any:
    """Round every number to `DIGITS` significant digits; None for one that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(name): _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
