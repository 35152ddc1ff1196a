"""Scores of predictions on a file, with 95 % intervals over its examples.

An interval says how far the score may be from that on all texts like these; it contains no spread over seeds.
Shares have Wilson's interval (1927), means over examples the t interval, and F1 and R² the percentile
bootstrap over examples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from gatescope.analysis import errors
from gatescope.analysis.error_tables import TitledTable, classification_tables
from gatescope.analysis.report.numbers import interval
from gatescope.analysis.statistics import LEVEL, Estimate, mean_interval
from gatescope.metric_names import output_metric
from gatescope.tracking.predictions import classes, flags, labels, outputs

if TYPE_CHECKING:
    from gatescope.sequences import TargetScale, TaskSpec

RESAMPLES = 2000
SMALLEST = 1e-30
"""Bound of predictions whose logarithm is compared, as in `gatescope.training.regression`."""
SEED = 0
"""Seed of the bootstrap: the same predictions have the same intervals."""


def proportion_interval(successes: int, n: int, level: float = LEVEL) -> Estimate:
    """Return a share with Wilson's interval; NaN for n = 0.

    Args:
        successes: Number of successes.
        n: Number of examples.
        level: Confidence level.
    """
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    bounds = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return Estimate(successes / n, float(bounds.low), float(bounds.high), n)


def f1_intervals(counts: np.ndarray, level: float = LEVEL) -> tuple[list[Estimate], Estimate]:
    """Return the F1 of each class and their mean, with bootstrap intervals over examples.

    Drawing examples with replacement is drawing the cells of the confusion matrix from a multinomial
    distribution. The mean is over the classes that occur as true or as predicted class.

    Args:
        counts: Confusion matrix (K, K), true classes by row.
        level: Confidence level.
    """
    total = int(counts.sum())
    drawn = np.random.default_rng(SEED).multinomial(total, counts.reshape(-1) / total, RESAMPLES)
    samples = _f1(drawn.reshape(RESAMPLES, *counts.shape))
    values = _f1(counts[None])[0]
    tails = [(1 - level) / 2, (1 + level) / 2]

    def estimate(value: float, sampled: np.ndarray, n: int) -> Estimate:
        known = sampled[~np.isnan(sampled)]
        if math.isnan(value) or not len(known):
            return Estimate(value, math.nan, math.nan, n)
        low, high = np.quantile(known, tails)
        return Estimate(value, float(low), float(high), n)

    classes = [estimate(float(value), samples[:, i], int(counts[i].sum())) for i, value in enumerate(values)]
    return classes, estimate(float(np.nanmean(values)), np.nanmean(samples, axis=1), total)


def _f1(counts: np.ndarray) -> np.ndarray:
    """Return the F1 (R, K) of confusion matrices (R, K, K); NaN for a class that does not occur."""
    both = counts.sum(1) + counts.sum(2)
    right = np.einsum("rkk->rk", counts)
    return np.divide(2 * right, both, out=np.full(both.shape, np.nan), where=both > 0)


def classification_scores(predictions: pd.DataFrame) -> dict[str, Estimate]:
    """Return accuracy, macro_f1, loss, brier and calibration_error.

    Args:
        predictions: Columns loss, target, prediction and p(CLASS) for each class.
    """
    n, plain = len(predictions), errors.scores(predictions)
    right = int((predictions.target == predictions.prediction).sum())
    _, macro_f1 = f1_intervals(errors.confusion(predictions).to_numpy())
    return {
        "accuracy": proportion_interval(right, n),
        "macro_f1": macro_f1,
        "loss": mean_interval(predictions.loss),
        "brier": Estimate(plain["brier"], math.nan, math.nan, n),
        "calibration_error": Estimate(plain["calibration_error"], math.nan, math.nan, n),
    }


def class_scores(predictions: pd.DataFrame) -> dict[str, dict[str, Estimate]]:
    """Return precision, recall and f1 of each class; the n of a precision is the number of predictions."""
    counts = errors.confusion(predictions)
    f1, _ = f1_intervals(counts.to_numpy())
    matrix = counts.to_numpy()
    return {
        str(name): {
            "precision": proportion_interval(int(matrix[i, i]), int(matrix[:, i].sum())),
            "recall": proportion_interval(int(matrix[i, i]), int(matrix[i].sum())),
            "f1": f1[i],
        }
        for i, name in enumerate(counts.index)
    }


def label_scores(predictions: pd.DataFrame) -> dict[str, Estimate]:
    """Return macro_f1, micro_f1, subset_accuracy and loss of several labels per example.

    Args:
        predictions: Columns loss, targets, predictions and p(LABEL) for each label.
    """
    n, counts = len(predictions), _label_counts(predictions)
    samples, whole = _resampled(counts), counts.sum(0)
    micro = _label_f1(np.concatenate([whole[None], samples]).sum(-1, keepdims=True))[:, 0]
    right = int((predictions.targets == predictions.predictions).sum())
    return {
        "macro_f1": _between(_label_f1(whole).mean(), _label_f1(samples).mean(-1), n),
        "micro_f1": _between(micro[0], micro[1:], n),
        "subset_accuracy": proportion_interval(right, n),
        "loss": mean_interval(predictions.loss),
    }


def each_label(predictions: pd.DataFrame) -> dict[str, dict[str, Estimate]]:
    """Return precision, recall and f1 of each label; the n of a precision is the number of predictions."""
    return _each(_label_counts(predictions), labels(predictions))


def _each(counts: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """Return precision, recall and f1 of each of K names from counts (N, 3, K)."""
    samples, (hits, predicted, true) = _label_f1(_resampled(counts)), counts.sum(0)
    values = _label_f1(counts.sum(0))
    return {
        name: {
            "precision": proportion_interval(int(hits[k]), int(predicted[k])),
            "recall": proportion_interval(int(hits[k]), int(true[k])),
            "f1": _between(values[k], samples[:, k], len(counts)),
        }
        for k, name in enumerate(names)
    }


def _label_counts(predictions: pd.DataFrame) -> np.ndarray:
    """Return (N, 3, K): for each example, the labels that are in both, that are predicted, that are true."""
    names = labels(predictions)
    true, predicted = flags(predictions.targets, names), flags(predictions.predictions, names)
    return np.stack([true & predicted, predicted, true], axis=1)


def _resampled(counts: np.ndarray) -> np.ndarray:
    """Return the sums (RESAMPLES, …) of the counts (N, …) of examples drawn with replacement.

    Examples with equal counts are drawn together, from a multinomial distribution.
    """
    rng, n = np.random.default_rng(SEED), len(counts)
    different, times = np.unique(counts.reshape(n, -1), axis=0, return_counts=True)
    parts = np.array_split(np.arange(RESAMPLES), 1 + RESAMPLES * len(different) // 10_000_000)
    sums = [
        rng.multinomial(n, times / n, len(part)).astype(float) @ different.astype(float) for part in parts
    ]
    return np.concatenate(sums).reshape(RESAMPLES, *counts.shape[1:])


def _label_f1(counts: np.ndarray) -> np.ndarray:
    """Return the F1 (…, K) of counts (…, 3, K); 0 for a label that does not occur."""
    hits, predicted, true = np.moveaxis(counts, -2, 0)
    both = predicted + true
    return np.divide(2 * hits, both, out=np.zeros(both.shape), where=both > 0)


def _between(value: float, samples: np.ndarray, n: int) -> Estimate:
    """Return a value with the interval between the quantiles of its bootstrap samples."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high), n)


def tagging_scores(predictions: pd.DataFrame) -> dict[str, Estimate]:
    """Return accuracy and, of spans, span_f1, precision and recall; intervals are over sequences.

    Args:
        predictions: Columns correct and scored, the numbers of correct and of all tokens; and for spans those
            of `_span_counts`.
    """
    n, spans = len(predictions), _span_counts(predictions)
    counts = np.concatenate([predictions[["correct", "scored"]].to_numpy(), spans.sum(2)], axis=1)
    sums = np.concatenate([counts.sum(0)[None], _resampled(counts)]).astype(float)
    right, tokens, hits, predicted, true = sums.T
    ratios = {"accuracy": (right, tokens)}
    if spans.size:
        ratios |= {"span_f1": (2 * hits, predicted + true)}
        ratios |= {"precision": (hits, predicted), "recall": (hits, true)}
    result = {}
    for name, (part, whole) in ratios.items():
        values = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
        result[name] = _between(values[0], values[1:], n)
    return result


def span_types(predictions: pd.DataFrame) -> list[str]:
    """Return the types of spans, by the names of the columns."""
    return [str(name)[6:-1] for name in predictions if str(name).startswith("spans(")]


def _span_counts(predictions: pd.DataFrame) -> np.ndarray:
    """Return (N, 3, K): for each type the spans in both, predicted, and true, of each sequence.

    Spans that are not counted for each type are one type.
    """
    ends = [f"({name})" for name in span_types(predictions)] or ([""] if "spans" in predictions else [])
    parts = [
        predictions[[f"{part}{end}" for end in ends]].to_numpy()
        for part in ("span_hits", "span_predictions", "spans")
    ]
    return np.stack(parts, axis=1).astype(np.int64)


def regression_scores(predictions: pd.DataFrame, scale: TargetScale | None = None) -> dict[str, Estimate]:
    """Return mse, mae, bias (the mean error) and r2; of several outputs scaled_mse and NAME/mse … of each.

    Args:
        predictions: Columns target and prediction, or target(NAME) and prediction(NAME) of each output.
        scale: Scale of several outputs, on which scaled_mse is the mean of their squared errors.
    """
    if names := outputs(predictions):
        true, found = (
            predictions[[f"{part}({name})" for name in names]].to_numpy(float)
            for part in ("target", "prediction")
        )
        result = {"scaled_mse": mean_interval(scaled_errors(true, found, scale).mean(1))}
        for k, name in enumerate(names):
            columns = pd.DataFrame({"target": true[:, k], "prediction": found[:, k]})
            result |= {output_metric(name, one): score for one, score in regression_scores(columns).items()}
        return result
    target, prediction = predictions.target.to_numpy(float), predictions.prediction.to_numpy(float)
    error = prediction - target
    return {
        "mse": mean_interval(error**2),
        "mae": mean_interval(np.abs(error)),
        "bias": mean_interval(error),
        "r2": _r2_interval(target, error),
    }


def scaled_errors(true: np.ndarray, found: np.ndarray, scale: TargetScale | None) -> np.ndarray:
    """Return the squared errors (N, K) of several outputs on their scale; without one in their units."""
    if scale is None:
        return (found - true) ** 2
    if scale.log:
        true, found = np.log(true), np.log(found.clip(min=SMALLEST))
    return ((found - true) / np.asarray(scale.deviation)) ** 2


def _r2_interval(target: np.ndarray, error: np.ndarray) -> Estimate:
    """Return R²; NaN if all targets are equal."""

    def r2(y: np.ndarray, e: np.ndarray) -> np.ndarray:
        total = ((y - y.mean(-1, keepdims=True)) ** 2).sum(-1)
        return 1 - np.divide((e**2).sum(-1), total, out=np.full(total.shape, np.nan), where=total > 0)

    value, n = float(r2(target[None], error[None])[0]), len(target)
    if math.isnan(value) or n < 2:
        return Estimate(value, math.nan, math.nan, n)
    rng = np.random.default_rng(SEED)
    drawn = (rng.integers(n, size=n) for _ in range(RESAMPLES))
    samples = [float(r2(target[rows][None], error[rows][None])[0]) for rows in drawn]
    low, high = np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n)


def transduction_scores(predictions: pd.DataFrame, unit: str) -> dict[str, Estimate]:
    """Return exact_match, the error rate of the unit (edits / symbols of the targets), and what the unit has.

    These are word_error_rate for phonemes and for characters with spaces among them, and bleu and chrf (0 to
    100) for words and subwords, as in the test of a run.

    Args:
        predictions: Columns errors, symbols, target, prediction, and also: further accepted targets as JSON.
        unit: What a symbol is.
    """
    from gatescope.training.text_metrics import error_rate_name

    n, symbols = len(predictions), int(predictions.symbols.sum())
    rate = float(predictions.errors.sum() / max(symbols, 1))
    wrong = int((predictions.errors > 0).sum())
    scores = {
        "exact_match": proportion_interval(n - wrong, n),
        error_rate_name(unit): Estimate(rate, math.nan, math.nan, n),
    }
    if unit == "phoneme":
        scores["word_error_rate"] = proportion_interval(wrong, n)
    further = _text_metrics(predictions, unit) if n else {}
    if further:
        accepted = [
            [str(first), *(json.loads(rest) if isinstance(rest, str) and rest else [])]
            for first, rest in zip(predictions.target, predictions.also, strict=True)
        ]
        found = ["" if isinstance(one, float) else str(one) for one in predictions.prediction]
        for name, metric in further.items():
            metric.update(found, accepted)
            scores[name] = Estimate(float(metric.compute()), math.nan, math.nan, n)
    return scores


def _text_metrics(predictions: pd.DataFrame, unit: str) -> dict[str, Any]:
    """Return the metrics that need the texts: those of words, also of words made of characters."""
    from gatescope.sequences import SPACE
    from gatescope.training.text_metrics import text_metrics
    from gatescope.training.transduction import JoinedWordErrorRate

    has_spaces = unit == "character" and predictions.target.astype(str).str.contains(SPACE).any()
    return {"word_error_rate": JoinedWordErrorRate()} if has_spaces else dict(text_metrics(unit))


def scores_of(task: TaskSpec, predictions: pd.DataFrame) -> dict[str, Estimate]:
    """Return the scores of a task, also from the predictions that a run has recorded.

    Args:
        task: The task; one with several answers a step has no scores.
        predictions: As `gatescope.tracking.predictions` describes them; in a tagging, spans may be counted
            for each type.
    """
    if task.kind == "classification":
        return (label_scores if task.multilabel else classification_scores)(predictions)
    if task.kind == "regression":
        return regression_scores(predictions, task.target_scale)
    if task.kind == "transduction":
        return transduction_scores(predictions, task.target_unit)
    return tagging_scores(predictions) if "correct" in predictions else {}


def tables(predictions: pd.DataFrame, scores: Mapping[str, Estimate]) -> list[TitledTable]:
    """Return what is printed: the scores, and each label or type of span, or each class and the confusion."""
    lines = [{"metric": name, "value": interval(one)} for name, one in scores.items()]
    note = "In brackets: 95 % interval over the examples."
    result = [TitledTable(f"{len(predictions)} examples", pd.DataFrame(lines), note)]
    if labels(predictions):
        table = _table("label", each_label(predictions))
        return [*result, TitledTable("Labels", table, "n: examples with the label.")]
    if types := span_types(predictions):
        table = _table("type", _each(_span_counts(predictions), types))
        return [*result, TitledTable("Spans", table, "n: spans of the type.")]
    if not classes(predictions):
        return result
    table = _table("class", class_scores(predictions))
    confusion = classification_tables(predictions)[0]
    return [*result, TitledTable("Classes", table, "n: examples of the class."), confusion]


def _table(heading: str, scores: Mapping[str, Mapping[str, Estimate]]) -> pd.DataFrame:
    """Return a row for each class or label: its scores, and the number of its examples."""
    rows = [
        {heading: name, **{score: interval(one) for score, one in of_one.items()}, "n": of_one["recall"].n}
        for name, of_one in scores.items()
    ]
    return pd.DataFrame(rows)


def as_json(predictions: pd.DataFrame, scores: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return the scores as values of JSON; a bound that does not exist is null."""
    result: dict[str, Any] = {
        "examples": len(predictions),
        "level": LEVEL,
        "metrics": {name: _values(one) for name, one in scores.items()},
    }
    if labels(predictions):
        result["labels"] = {
            name: {score: _values(one) for score, one in of_label.items()}
            for name, of_label in each_label(predictions).items()
        }
    if types := span_types(predictions):
        result["spans"] = {
            name: {score: _values(one) for score, one in of_type.items()}
            for name, of_type in _each(_span_counts(predictions), types).items()
        }
    if classes(predictions):
        counts = errors.confusion(predictions)
        result["classes"] = {
            name: {score: _values(one) for score, one in of_class.items()}
            for name, of_class in class_scores(predictions).items()
        }
        result["confusion"] = {"classes": list(counts.index), "counts": counts.to_numpy().tolist()}
    return result


def _values(one: Estimate) -> dict[str, float | int | None]:
    parts = {"value": one.mean, "low": one.low, "high": one.high}
    return {**{name: value if math.isfinite(value) else None for name, value in parts.items()}, "n": one.n}
