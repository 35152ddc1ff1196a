"""Findings on a setting for all data of a kind: chosen on all datasets but one, how good is it on that one?

The runs are the trials of a tuned study with one variant (`tune=random`) under several conditions, the
datasets. Every dataset has the same settings. For each dataset, the setting with the best mean rank on the
validation splits of the others is compared with the best of all settings on its own validation split.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.numbers import NOTHING, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.statistics.ranks import MIN_DATASETS, mean_ranks
from gatescope.analysis.tables import NoData, Tables
from gatescope.analysis.trials import validation_metric

FIGURE = "expected_best"
"""The figure that shows the scores of the trials."""


@dataclass(frozen=True)
class LeftOut:
    """What is known of a dataset without having seen it.

    Attributes:
        dataset: Its condition.
        chosen: The setting with the best mean rank on the other datasets.
        score: Its metric on the test split of this dataset.
        own: The setting that is best on the validation split of this dataset.
        own_score: Its metric on the test split.
        bar: The metric of the model without recurrence; None where it has no run.
    """

    dataset: str
    chosen: str
    score: float
    own: str
    own_score: float
    bar: float | None


def findings(comparison: Comparison) -> Findings:
    """Write the findings of a search for a common setting.

    Raises:
        NoData: Fewer than three datasets have the same trials.
    """
    higher = comparison.higher_is_better
    validation, test = scores(comparison.recorded, comparison.primary)
    bars = {condition: one.value for condition, one in comparison.baselines.items()}
    rows = leave_one_out(validation, test, higher, bars)
    best = best_setting(validation, higher)
    metric, sign = words.metric(comparison.primary), 1 if higher else -1
    losses = [sign * (one.own_score - one.score) for one in rows]
    mean = sum(losses) / len(losses)
    judged = [one for one in rows if one.bar is not None]
    clear = sum(sign * one.score >= sign * one.bar for one in judged if one.bar is not None)
    title = (
        f"A setting chosen on other datasets is {number(abs(mean))} {'below' if mean >= 0 else 'above'} "
        f"the best of {len(test.columns)} of each dataset's own, in the mean"
    )
    headline = (
        f"Each of {len(rows)} datasets was left out once; the setting with the best mean rank on the others "
        f"is compared on {metric} with the one that is best on the dataset's own validation split. "
        f"With all datasets the choice is {words.condition(best)}."
    )
    if judged:
        headline += (
            " Without having seen the dataset, it reaches the model without recurrence "
            f"on {clear} of {len(judged)}."
        )
    return Findings(title, headline, [_table(rows, metric), _note(validation)], FIGURE)


def scores(tables: Tables, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores on validation and on test, a row per dataset and a column per setting.

    Raises:
        NoData: Fewer than three datasets have trials, or no setting has a score on all of them.
    """
    trials = tables.trials[tables.trials.status == "finished"] if len(tables.trials) else tables.trials
    if len(trials) == 0 or trials.condition.nunique() < MIN_DATASETS:
        raise NoData("fewer than three datasets have trials: python train.py -m data=… tune=random")
    # Of settings with equal scores the first is chosen, as by tuning.
    trials = trials.sort_values("number", kind="stable")
    names = f"best/{validation_metric(tables)}", metric
    validation, test = (
        trials.assign(score=pd.to_numeric(trials[name]))
        .pivot_table(index="condition", columns="setting", values="score", sort=False)
        .dropna(axis=1)
        for name in names
    )
    shared = [setting for setting in validation.columns if setting in test.columns]
    if len(shared) < 2:
        raise NoData("fewer than two settings have a score on every dataset")
    return validation[shared], test[shared]


def best_setting(validation: pd.DataFrame, higher_is_better: bool) -> str:
    """Return the setting with the best mean rank over the datasets, the first of equal ones."""
    return str(mean_ranks(validation if higher_is_better else -validation).index[0])


def leave_one_out(
    validation: pd.DataFrame, test: pd.DataFrame, higher_is_better: bool, bars: dict[str, float]
) -> list[LeftOut]:
    """Return a result per dataset.

    Args:
        validation: Scores, a row per dataset and a column per setting.
        test: Scores on test, likewise.
        higher_is_better: Direction of the metric.
        bars: Metric of the model without recurrence by dataset.
    """
    rows = []
    for dataset in validation.index:
        chosen = best_setting(validation.drop(index=dataset), higher_is_better)
        best = best_setting(validation.loc[[dataset]], higher_is_better)
        got = test.loc[dataset]
        rows.append(LeftOut(str(dataset), chosen, got[chosen], best, got[best], bars.get(str(dataset))))
    return rows


def _table(rows: list[LeftOut], metric: str) -> str:
    head = [
        "dataset",
        "setting chosen on the others",
        metric,
        "best of its own validation",
        metric,
        "baseline",
    ]
    lines = [
        [
            words.condition(one.dataset),
            words.condition(one.chosen),
            number(one.score),
            words.condition(one.own),
            number(one.own_score),
            NOTHING if one.bar is None else number(one.bar),
        ]
        for one in rows
    ]
    return markdown(head, lines)


def _note(validation: pd.DataFrame) -> str:
    return (
        f"{len(validation.columns)} settings with a score on all {len(validation)} datasets, one seed each; "
        "scores are of the test split. Both choices use validation splits alone."
    )
