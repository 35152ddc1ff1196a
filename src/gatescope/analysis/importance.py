"""How much each tuned key mattered: functional analysis of variance (Hutter et al. 2014), by Optuna."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.selection import validated_metric
from gatescope.analysis.tables import NoData, Tables

COLUMNS = ["condition", "variant", "key", "importance", "trials"]
MIN_TRIALS = 8
"""Least number of trials with a score; of fewer, a forest learns nothing."""


def importances(tables: Tables) -> pd.DataFrame:
    """Return the share of the variance of the validation score over the search space that each key explains.

    Args:
        tables: a tuned study.

    Returns:
        `COLUMNS`: a row for each condition, variant and tuned key. The shares of a variant sum to 1.

    Raises:
        NoData: the study was not tuned over several keys, no variant has `MIN_TRIALS` trials with a score, or
            Optuna is not installed.
    """
    if tables.trials.empty:
        raise NoData("the study was not tuned (tune=random, tune=tpe)")
    tunes = [cfg.get("tune") or {} for cfg in tables.configs.values()]
    space: dict[str, Any] = next((tune["space"] for tune in tunes if tune.get("stage") == "final"), {})
    rows = []
    for condition in study.conditions(tables.trials):
        by = f"best/{validated_metric(tables, condition)}"
        done = tables.trials[(tables.trials.condition == condition) & (tables.trials.status == "finished")]
        for variant in style.order(done.variant):
            own = done[done.variant == variant]
            scores = own.groupby("number").agg({by: "mean", "values": "first"}).dropna()
            if len(scores) >= MIN_TRIALS:
                values = [json.loads(one) for one in scores["values"]]
                shares = _shares(values, [float(one) for one in scores[by]], space)
                rows += [(condition, variant, key, share, len(scores)) for key, share in shares.items()]
    if not rows:
        raise NoData(f"no variant has {MIN_TRIALS} trials with a score and several tuned keys")
    return pd.DataFrame(rows, columns=COLUMNS)


def _shares(
    values: Sequence[Mapping[str, Any]], scores: Sequence[float], space: Mapping[str, Any]
) -> dict[str, float]:
    """Return the importance of each key; empty where one key alone was tuned, or all scores are equal."""
    try:
        import optuna

        from gatescope.tuning.space import distributions
    except ModuleNotFoundError as error:
        raise NoData("importances need the extra tune (Optuna)") from error
    if len(values[0]) < 2 or len(set(scores)) < 2:
        return {}
    domains = distributions({key: space[key] for key in values[0]})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = optuna.create_study()
    for own, score in zip(values, scores, strict=True):
        params = dict(own)
        search.add_trial(optuna.trial.create_trial(params=params, distributions=domains, value=score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(search, evaluator=evaluator)
    return {key: float(found[key]) for key in values[0]}
