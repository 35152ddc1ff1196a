"""How far a metric over a test set varies with the items of the test set.

The contribution of an item is the metric plus N times what the item changes in it, to first order (the
influence function of Hampel 1974). For a mean such as an accuracy this is the item's own value. The mean of
all contributions is the metric, and the variance of the metric over test sets of N items is about the
variance of the contributions divided by N.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.analysis import errors
from gatescope.analysis.statistics import ItemVariance
from gatescope.analysis.tables import Tables
from gatescope.tracking.predictions import classes, flags, labels, outputs

Values = NDArray[np.float64]
Contributions = Callable[[pd.DataFrame], Values]


@dataclass(frozen=True, eq=False)
class Items:
    """The contributions of the items of a test set to a metric, a mean over seeds.

    Attributes:
        ids: ids of the items (N,), sorted.
        values: contributions (N,).
    """

    ids: NDArray[np.int64]
    values: Values


def item_contributions(tables: Tables, metrics: Sequence[str]) -> dict[tuple[str, str, str], Items]:
    """Return the items of each metric, variant and condition whose predictions are recorded.

    Runs of different folds, or that were tested on different examples, have none: their values already vary
    with the test set.

    Args:
        tables: the runs.
        metrics: names such as "test/accuracy".
    """
    return {
        (metric, group.variant, group.condition): found
        for group in errors.groups(tables)
        if group.unit == "seed"
        for metric in metrics
        if (found := items_of(list(group.runs.values()), metric)) is not None
    }


def items_of(predictions: Sequence[pd.DataFrame], metric: str) -> Items | None:
    """Return the mean contributions of items over seeds.

    Args:
        predictions: predictions of each seed on the same test set.
        metric: name of the metric.

    Returns:
        None for a metric whose contributions are not known, for runs that were tested on different examples,
        and for fewer than two items.
    """
    if not predictions or len(predictions[0]) < 2 or not errors.same_examples(predictions):
        return None
    tables = [table.sort_values("id") for table in predictions]
    parts = [part for table in tables if (part := contributions(table, metric)) is not None]
    return Items(tables[0].id.to_numpy(), np.mean(parts, axis=0)) if len(parts) == len(tables) else None


def variance_of(items: Items | None) -> ItemVariance | None:
    """Return the variance over test items of a metric's mean over seeds; None without items."""
    if items is None:
        return None
    return ItemVariance(float(items.values.var(ddof=1)) / len(items.values), len(items.values))


def variance_of_difference(a: Items, b: Items) -> ItemVariance | None:
    """Return the variance over test items of the difference A − B; None for different test sets."""
    if not np.array_equal(a.ids, b.ids):
        return None
    return variance_of(Items(a.ids, a.values - b.values))


def contributions(predictions: pd.DataFrame, metric: str) -> Values | None:
    """Return the contribution of each item to a metric of one run, shape (N,).

    Args:
        predictions: a row per item; see `gatescope.tracking.predictions`.
        metric: name of the metric.

    Returns:
        None where the metric does not follow from the columns, as BLEU does not.
    """
    name = metric.rsplit("/", 1)[-1]
    if name == "loss":
        return predictions.loss.to_numpy(dtype=float)
    found: Contributions | None
    if classes(predictions):
        found = _CLASSIFICATION.get(name)
    elif labels(predictions):
        found = _LABELS.get(name)
    elif outputs(predictions):
        found = _OUTPUTS.get(name)
    elif "errors" in predictions:
        found = _TRANSDUCTION.get("error_rate" if name.endswith("_error_rate") else name)
        found = None if name == "word_error_rate" else found
    elif "target" in predictions:
        found = _REGRESSION.get(name)
    else:
        found = _NEXT_STEP.get(name) if _has_columns(predictions, name) else None
    return None if found is None else found(predictions)


def _has_columns(predictions: pd.DataFrame, name: str) -> bool:
    needed = {"accuracy": "correct", "bpc": "scored", "nll": "steps", "frame_accuracy": "hits"}
    needed["span_f1"] = "spans"
    return needed.get(name) in predictions


def _is_correct(predictions: pd.DataFrame) -> Values:
    return np.asarray(predictions.target == predictions.prediction, dtype=float)


def _macro_f1(predictions: pd.DataFrame) -> Values:
    """Return the contributions to macro F1.

    F1 of class k is 2 TP_k / (P_k + T_k), with P_k predicted and T_k true items of the class. An item adds
    1[prediction = k] + 1[target = k] to the denominator, and 2 to the numerator where both hold.
    """
    names = [
        name for name in classes(predictions) if name in set(predictions.target) | set(predictions.prediction)
    ]
    is_true = predictions.target.to_numpy()[:, None] == np.array(names, dtype=object)
    is_predicted = predictions.prediction.to_numpy()[:, None] == np.array(names, dtype=object)
    both, either = 2.0 * (is_true & is_predicted), is_true.astype(float) + is_predicted
    return _ratio(both, either).mean(axis=1)


def _label_f1(macro: bool) -> Contributions:
    """Return the contributions to macro or micro F1 of several labels; a label that does not occur has 0."""

    def f1(predictions: pd.DataFrame) -> Values:
        names = labels(predictions)
        is_true, is_predicted = (
            flags(predictions[column], names).astype(float) for column in ("targets", "predictions")
        )
        both, either = 2 * is_true * is_predicted, is_true + is_predicted
        if not macro:
            return _ratio(both.sum(1), either.sum(1))
        occurs = either.sum(0) > 0
        return _ratio(both[:, occurs], either[:, occurs]).sum(axis=1) / len(names)

    return f1


def _ratio(numerator: Values, denominator: Values) -> Values:
    """Return the contributions to Σ numerator / Σ denominator, over the first axis."""
    ratio = numerator.sum(0) / denominator.sum(0)
    influence: Values = ratio + (numerator - ratio * denominator) / denominator.mean(0)
    return influence


def _of(numerator: str, denominator: str, factor: float = 1.0) -> Contributions:
    """Return the contributions to a ratio of sums of two columns."""

    def ratio(predictions: pd.DataFrame) -> Values:
        columns = (predictions[name].to_numpy(dtype=float) for name in (numerator, denominator))
        return factor * _ratio(*columns)

    return ratio


def _loss_per(count: str, factor: float = 1.0) -> Contributions:
    """Return the contributions to the mean loss of all steps."""

    def ratio(predictions: pd.DataFrame) -> Values:
        steps = predictions[count].to_numpy(dtype=float)
        return factor * _ratio(predictions.loss.to_numpy(dtype=float) * steps, steps)

    return ratio


_CLASSIFICATION: dict[str, Contributions] = {"accuracy": _is_correct, "macro_f1": _macro_f1}
_LABELS: dict[str, Contributions] = {
    "macro_f1": _label_f1(macro=True),
    "micro_f1": _label_f1(macro=False),
    "subset_accuracy": lambda table: np.asarray(table.targets == table.predictions, dtype=float),
}
_OUTPUTS: dict[str, Contributions] = {"scaled_mse": lambda table: table.loss.to_numpy(dtype=float)}
_TRANSDUCTION: dict[str, Contributions] = {
    "exact_match": lambda table: np.asarray(table.errors == 0, dtype=float),
    "error_rate": _of("errors", "symbols"),
}
_REGRESSION: dict[str, Contributions] = {
    "mse": lambda table: np.asarray((table.prediction - table.target) ** 2, dtype=float),
}
_NEXT_STEP: dict[str, Contributions] = {
    "accuracy": _of("correct", "scored"),
    "bpc": _loss_per("scored", 1 / math.log(2)),
    "nll": _loss_per("steps"),
    "frame_accuracy": _of("hits", "either"),
    "span_f1": lambda table: _ratio(
        2.0 * table.span_hits.to_numpy(), (table.span_predictions + table.spans).to_numpy(dtype=float)
    ),
}
