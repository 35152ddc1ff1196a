"""Errors of a model: statistics of its predictions on a test split. This module does not import torch.

`gatescope.tracking.predictions` describes the columns of a table of predictions.

Calibration: the confidence of a prediction is the probability of the predicted class. Confidences are divided
into `BINS` bins of equal width over (0, 1]. The expected calibration error of the predicted class is
Σ_b n_b / N · |accuracy_b − confidence_b| (Guo et al. 2017). The Brier score is the mean over examples of
Σ_k (p_k − y_k)² over all classes (Brier 1950): 0 for correct predictions with probability 1, 2 for wrong
ones. For two classes that is twice the (p − y)² of scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from gatescope.analysis import study, style
from gatescope.analysis.tables import Tables, Texts, count_text
from gatescope.analysis.units import unit_name
from gatescope.metric_names import output_metric
from gatescope.tracking.predictions import badness, classes, flags, labels, outputs, worst

BINS = 15
CALIBRATION = ["low", "high", "n", "confidence", "accuracy"]


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the confusion matrix: counts, rows by true class, columns by predicted class, in task order."""
    names = classes(predictions)
    counts = confusion_matrix(predictions.target, predictions.prediction, labels=names)
    return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=pd.Index(names, name="predicted"))


def confused_pairs(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the confusions, the most frequent first: true, predicted, n, share of the true class.

    Args:
        counts: A confusion matrix.
    """
    table = confusion_cells(counts)
    table = table[table.true != table.predicted]
    return table.sort_values(["n", "share"], ascending=False, kind="stable", ignore_index=True)


def confusion_cells(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a confusion matrix that are not 0: true, predicted, n, share of the true class."""
    row, column = np.nonzero(counts.to_numpy())
    n = counts.to_numpy()[row, column]
    table = pd.DataFrame({"true": counts.index[row], "predicted": counts.columns[column], "n": n})
    return table.assign(share=n / counts.sum(axis=1).to_numpy()[row])


def per_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return precision, recall, f1 and n (number of examples) of each class; a ratio 0 / 0 is 0."""
    names = classes(predictions)
    precision, recall, f1, n = precision_recall_fscore_support(
        predictions.target, predictions.prediction, labels=names, zero_division=0.0
    )
    return pd.DataFrame({"class": names, "precision": precision, "recall": recall, "f1": f1, "n": n})


def per_label(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return precision, recall, f1 and n (number of examples) of each label; a ratio 0 / 0 is 0."""
    names = labels(predictions)
    precision, recall, f1, n = precision_recall_fscore_support(
        flags(predictions.targets, names), flags(predictions.predictions, names), zero_division=0.0
    )
    return pd.DataFrame({"label": names, "precision": precision, "recall": recall, "f1": f1, "n": n})


def label_scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Return macro_f1, micro_f1 and subset_accuracy of several labels per example."""
    names = labels(predictions)
    pair = flags(predictions.targets, names), flags(predictions.predictions, names)
    return {
        "macro_f1": float(f1_score(*pair, average="macro", zero_division=0.0)),
        "micro_f1": float(f1_score(*pair, average="micro", zero_division=0.0)),
        "subset_accuracy": float((predictions.targets == predictions.predictions).mean()),
    }


def calibration(predictions: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Return low, high, n, mean confidence and accuracy of each bin of confidence; NaN for an empty bin."""
    probabilities = predictions[[f"p({name})" for name in classes(predictions)]].to_numpy()
    confidence = probabilities.max(axis=1)
    correct = (predictions.target == predictions.prediction).to_numpy()
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    n = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (confidence, correct)]
    means = [np.divide(s, n, out=np.full(bins, math.nan), where=n > 0) for s in sums]
    return pd.DataFrame(dict(zip(CALIBRATION, (edges[:-1], edges[1:], n, *means), strict=True)))


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Return the expected calibration error.

    Args:
        table: Result of `calibration`.
    """
    gaps = (table.accuracy - table.confidence).abs().fillna(0)
    return float((gaps * table.n).sum() / table.n.sum())


def brier(predictions: pd.DataFrame) -> float:
    """Return the Brier score, the mean over examples of the squared error summed over classes."""
    names = classes(predictions)
    probabilities = predictions[[f"p({name})" for name in names]].to_numpy()
    correct = predictions.target.to_numpy()[:, None] == np.array(names, dtype=object)[None]
    return float(((probabilities - correct) ** 2).sum(axis=1).mean())


def scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the scores of a whole test split by name.

    All tasks have examples and loss. A classification has accuracy, macro_f1, calibration_error and brier,
    one by several labels macro_f1, micro_f1 and subset_accuracy; a transduction error_rate and wrong; a
    regression mse and bias, of each output if there are several; a tagging accuracy and span_f1; other tasks
    accuracy or nll.
    """
    result = {"examples": float(len(predictions)), "loss": float(predictions.loss.mean())}
    if classes(predictions):
        correct = predictions.target == predictions.prediction
        result |= {
            "accuracy": float(correct.mean()),
            "macro_f1": float(
                f1_score(predictions.target, predictions.prediction, average="macro", zero_division=0.0)
            ),
            "calibration_error": expected_calibration_error(calibration(predictions)),
            "brier": brier(predictions),
        }
    elif labels(predictions):
        result |= label_scores(predictions)
    elif "errors" in predictions:
        result["error_rate"] = float(predictions.errors.sum() / max(predictions.symbols.sum(), 1))
        result["wrong"] = float((predictions.errors > 0).mean())
    elif outputs(predictions):
        for name in outputs(predictions):
            error = predictions[f"prediction({name})"] - predictions[f"target({name})"]
            result[output_metric(name, "mse")] = float((error**2).mean())
            result[output_metric(name, "bias")] = float(error.mean())
    elif "target" in predictions:
        error = predictions.prediction - predictions.target
        result |= {"mse": float((error**2).mean()), "bias": float(error.mean())}
    elif "correct" in predictions:
        result["accuracy"] = float(predictions.correct.sum() / max(predictions.scored.sum(), 1))
        if "spans" in predictions:
            both = predictions.span_predictions.sum() + predictions.spans.sum()
            result["span_f1"] = float(2 * predictions.span_hits.sum() / max(both, 1))
    else:
        result["nll"] = float((predictions.loss * predictions.steps).sum() / predictions.steps.sum())
    return result


def worst_errors(predictions: pd.DataFrame, count: int, texts: Texts | None = None) -> pd.DataFrame:
    """Return the worst errors of one run: id, loss, the columns of the task, and text.

    The worst errors of a classification are the wrong predictions with the least probability of the true
    class; of a regression the largest absolute errors; of a transduction the most edits per symbol; of other
    tasks the largest losses.

    Args:
        predictions: Predictions of a test split.
        count: Most errors that are returned.
        texts: Returns the texts of examples; without it there is no column text.
    """
    names = [str(name) for name in predictions if not str(name).startswith("p(") and name != "also"]
    table = predictions[names].iloc[worst(predictions, count)]
    table = table.reset_index(drop=True)
    return table if texts is None else with_texts(table, texts)


def worst_over_seeds(predictions: Sequence[pd.DataFrame], count: int) -> pd.DataFrame:
    """Return the examples that most runs predict wrongly, the worst first.

    A regression, and a task with several outputs per time step, has no wrong predictions: their examples are
    ranked by mean absolute error or mean loss, and there is no column wrong.

    Args:
        predictions: Predictions of each run on the same test split.
        count: Most examples that are returned.

    Returns:
        Columns id, wrong (number of runs), runs (number of all runs), loss (mean), target and prediction (the
        most frequent, or the mean).
    """
    pair = ("targets", "predictions") if labels(predictions[0]) else ("target", "prediction")
    columns = [name for name in ("id", "loss", *pair) if name in predictions[0]]
    parts = [table[columns].assign(badness=badness(table)) for table in predictions]
    rows = pd.concat(parts, ignore_index=True)
    rows["is_wrong"] = rows.badness > 0
    by_id = rows.groupby("id", sort=True)
    table = by_id.agg(
        wrong=("is_wrong", "sum"),
        runs=("is_wrong", "size"),
        badness=("badness", "mean"),
        loss=("loss", "mean"),
    ).reset_index()
    names = predictions[0].columns
    has_wrong = bool(classes(names) or labels(names)) or "errors" in names or "correct" in names
    order = ["wrong", "badness", "loss"] if has_wrong else ["badness", "loss"]
    share = table.assign(wrong=table.wrong / table.runs)
    first = share.sort_values(order, ascending=False, kind="stable").index[:count]
    table = table.loc[first]
    table = table[table.badness > 0].copy()
    if pair[0] in rows:
        table["target"] = [by_id[pair[0]].get_group(i).iloc[0] for i in table.id]
        table["prediction"] = [_typical(by_id[pair[1]].get_group(i)) for i in table.id]
    table = table.drop(columns=["badness"] if has_wrong else ["badness", "wrong"])
    return table.reset_index(drop=True)


def same_examples(predictions: Sequence[pd.DataFrame]) -> bool:
    """Return whether all runs were tested on the same examples: an id has the same target in each run."""
    first = predictions[0]
    if any(set(table.columns) != set(first.columns) for table in predictions):
        return False
    several = [f"target({name})" for name in outputs(first)]
    fixed = [name for name in ("target", "targets", "scored", "steps", *several) if name in first]
    rows = pd.concat([table[["id", *fixed]] for table in predictions])
    return len(rows.drop_duplicates()) == rows.id.nunique()


def _typical(values: pd.Series) -> Any:
    """Return the mean of numbers, or the most frequent of names."""
    return values.mean() if values.dtype.kind in "fi" else values.value_counts().index[0]


def with_texts(table: pd.DataFrame, texts: Texts) -> pd.DataFrame:
    """Return a table of examples with the column text.

    Args:
        table: Column id.
        texts: Returns the texts of examples.
    """
    return table.assign(text=texts([int(i) for i in table.id]))


@dataclass(frozen=True)
class Group:
    """The predictions of the runs of one variant under one condition.

    Attributes:
        variant: The variant.
        condition: The condition.
        runs: Predictions by run id, in the order of folds and seeds.
        unit: What the runs differ in, "seed" or "fold".
    """

    variant: str
    condition: str
    runs: dict[str, pd.DataFrame]
    unit: str = "seed"

    @property
    def pooled(self) -> pd.DataFrame:
        """Predictions of all runs in one table."""
        return pd.concat(list(self.runs.values()), ignore_index=True)

    @property
    def key(self) -> dict[str, str]:
        """Variant and condition, as columns of a table."""
        return {"variant": self.variant, "condition": self.condition}


def groups(tables: Tables, classified: bool = False) -> list[Group]:
    """Group the recorded predictions by condition and variant, in the order of reports.

    Runs whose predictions have other columns than those of the first run of the group are left out.

    Args:
        tables: The runs.
        classified: Whether only classifications are returned.
    """
    result = []
    for condition in study.conditions(tables.runs):
        in_condition = tables.runs[tables.runs.condition == condition]
        for variant in style.order(in_condition.variant):
            own = in_condition[in_condition.variant == variant].sort_values(["unit", "seed"])
            ids = own.run_id
            recorded = {run_id: table for run_id in ids if (table := tables.predictions(run_id)) is not None}
            first = next(iter(recorded.values()), None)
            if first is None or (classified and not classes(first)):
                continue
            same_columns = {run_id: table for run_id, table in recorded.items() if list(table) == list(first)}
            result.append(Group(variant, condition, same_columns, unit_name(own)))
    return result


def seed_text(groups: Sequence[Group]) -> str:
    """Return "5 seeds", or "3 to 5 seeds" where groups differ; folds in a cross-validation."""
    return count_text((len(group.runs) for group in groups), groups[0].unit if groups else "seed")
