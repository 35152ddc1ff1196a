"""Findings on whether the reach of the gradient before training predicts what is learnt."""

from __future__ import annotations

import math

from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.horizon import Horizon
from gatescope.analysis.report.numbers import number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.tables import NoData


def paragraphs(comparison: Comparison) -> list[str]:
    """Return a sentence and a table by architecture; nothing where the study has no such runs."""
    try:
        found = comparison.horizon
    except NoData:
        return []
    return [_text(found), _table(found)]


def _text(found: Horizon) -> str:
    short = found.runs[found.runs.reach < found.runs.lag]
    solved = int(short.solved.sum())
    within = "" if math.isnan(found.auc_within) else f", {number(found.auc_within)} between runs of one lag"
    better = "better" if found.brier < found.brier_of_lag else "worse"
    return (
        "**Does the reach before training predict what is learnt?** "
        f"The gradient reaches less far than the lag in {len(short)} of {len(found.runs)} runs before "
        f"training; {solved} of these solve the task. The area under the ROC curve of reach / lag is "
        f"{number(found.auc)} over all runs{within} (0.5: chance, 1: the reach separates them). "
        "The table judges a logistic model of reach / lag on an architecture that it has not seen. Its Brier "
        f"score, the mean squared error of the probabilities, is {number(found.brier)} over all runs: "
        f"{better} than the {number(found.brier_of_lag)} of a model that knows the lag alone. Runs of an "
        "architecture are alike, so the number of independent cases is that of the architectures, "
        f"{len(found.held_out)}: none of these numbers has an interval."
    )


def _table(found: Horizon) -> str:
    rows = [
        [
            words.variant(one.variant),
            f"{one.solved} of {one.runs}",
            f"{100 * one.predicted:.0f} %",
            number(one.brier),
            number(one.brier_of_lag),
        ]
        for one in found.held_out
    ]
    head = ["left out", "solved", "predicted", "Brier score", "lag alone"]
    return markdown(head, rows)
