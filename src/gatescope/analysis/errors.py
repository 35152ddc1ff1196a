"""What a model gets wrong: functions on the predictions of a test split, as
`gatescope.tracking.predictions` describes them. No torch here.

Calibration. The confidence of a prediction is the probability of the predicted class. Confidences fall into
`BINS` bins of equal width over (0, 1]; the expected calibration error (Guo et al. 2017) is
Σ_b n_b / N · |accuracy_b − confidence_b|, of all classes' top prediction. The Brier score is the mean of
Σ_k (p_k − y_k)² over all classes (Brier 1950): 0 is right and sure, 2 wrong and sure. Of two classes that is
twice the (p − y)² of some texts and of scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from gatescope.analysis import study, style
from gatescope.analysis.tables import Tables
from gatescope.tracking.predictions import badness, classes, worst

BINS = 15
CALIBRATION = ["low", "high", "n", "confidence", "accuracy"]

Texts = Callable[[Sequence[int]], list[str]]
"""Ids of the test split -> the examples as a reader sees them."""


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Counts of a classification: rows by true class, columns by predicted class, in the task's order."""
    names = classes(predictions)
    counts = confusion_matrix(predictions.target, predictions.prediction, labels=names)
    return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=pd.Index(names, name="predicted"))


def confused(counts: pd.DataFrame) -> pd.DataFrame:
    """The pairs of classes that are taken for each other: true, predicted, n, share (of the true class),
    the commonest first."""
    table = cells(counts)
    table = table[table.true != table.predicted]
    return table.sort_values(["n", "share"], ascending=False, kind="stable", ignore_index=True)


def cells(counts: pd.DataFrame) -> pd.DataFrame:
    """A row a cell of a confusion matrix that is not 0: true, predicted, n, share (of the true class)."""
    row, column = np.nonzero(counts.to_numpy())
    n = counts.to_numpy()[row, column]
    table = pd.DataFrame({"true": counts.index[row], "predicted": counts.columns[column], "n": n})
    return table.assign(share=n / counts.sum(axis=1).to_numpy()[row])


def per_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row a class: class, precision, recall, f1, n (examples of it). 0 where scikit-learn divides by 0."""
    names = classes(predictions)
    precision, recall, f1, n = precision_recall_fscore_support(
        predictions.target, predictions.prediction, labels=names, zero_division=0.0
    )
    return pd.DataFrame({"class": names, "precision": precision, "recall": recall, "f1": f1, "n": n})


def calibration(predictions: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """A row a bin of confidence: low, high, n, mean confidence, accuracy; NaN where a bin is empty."""
    chances = predictions[[f"p({name})" for name in classes(predictions)]].to_numpy()
    confidence = chances.max(axis=1)
    right = (predictions.target == predictions.prediction).to_numpy()
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    n = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (confidence, right)]
    means = [np.divide(s, n, out=np.full(bins, math.nan), where=n > 0) for s in sums]
    return pd.DataFrame(dict(zip(CALIBRATION, (edges[:-1], edges[1:], n, *means), strict=True)))


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Of what `calibration` gives."""
    gaps = (table.accuracy - table.confidence).abs().fillna(0)
    return float((gaps * table.n).sum() / table.n.sum())


def brier(predictions: pd.DataFrame) -> float:
    """Mean over examples of the squared error of the probabilities, summed over classes."""
    names = classes(predictions)
    chances = predictions[[f"p({name})" for name in names]].to_numpy()
    right = predictions.target.to_numpy()[:, None] == np.array(names, dtype=object)[None]
    return float(((chances - right) ** 2).sum(axis=1).mean())


def scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Numbers of a whole test split: of a classification accuracy, macro_f1, calibration_error and brier; of
    the other tasks what their columns give."""
    found = {"examples": float(len(predictions)), "loss": float(predictions.loss.mean())}
    if classes(predictions):
        right = predictions.target == predictions.prediction
        found |= {
            "accuracy": float(right.mean()),
            "macro_f1": float(
                f1_score(predictions.target, predictions.prediction, average="macro", zero_division=0.0)
            ),
            "calibration_error": expected_calibration_error(calibration(predictions)),
            "brier": brier(predictions),
        }
    elif "errors" in predictions:
        found["error_rate"] = float(predictions.errors.sum() / max(predictions.symbols.sum(), 1))
        found["wrong"] = float((predictions.errors > 0).mean())
    elif "target" in predictions:
        error = predictions.prediction - predictions.target
        found |= {"mse": float((error**2).mean()), "bias": float(error.mean())}
    elif "correct" in predictions:
        found["accuracy"] = float(predictions.correct.sum() / max(predictions.scored.sum(), 1))
    else:
        found["nll"] = float((predictions.loss * predictions.steps).sum() / predictions.steps.sum())
    return found


def worst_errors(predictions: pd.DataFrame, count: int, texts: Texts | None = None) -> pd.DataFrame:
    """A row an error, the worst first: id, loss, target and prediction or what else the task has, and text.

    Worst, of a classification: the wrong ones with the least probability of the true class; of a regression
    the greatest |error|; of a transduction the most edits a symbol; of the others the greatest loss.
    """
    names = [str(name) for name in predictions if not str(name).startswith("p(") and name != "also"]
    table = predictions[names].iloc[worst(predictions, count)]
    return _with_texts(table.reset_index(drop=True), texts)


def worst_over_seeds(
    predictions: Sequence[pd.DataFrame], count: int, texts: Texts | None = None
) -> pd.DataFrame:
    """The examples that most runs get wrong: id, wrong and runs (how many of how many), loss (mean), target,
    prediction (the commonest, or the mean), and text.

    "Wrong" of a regression or of several outputs a step means nothing: there `wrong` is left out, and the
    mean |error| or loss decides alone.
    """
    needed = [name for name in ("id", "loss", "target", "prediction") if name in predictions[0]]
    parts = [one[needed].assign(badness=badness(one)) for one in predictions]
    every = pd.concat(parts, ignore_index=True)
    every["is_wrong"] = every.badness > 0
    by_id = every.groupby("id", sort=True)
    table = by_id.agg(
        wrong=("is_wrong", "sum"),
        runs=("is_wrong", "size"),
        badness=("badness", "mean"),
        loss=("loss", "mean"),
    ).reset_index()
    names = predictions[0].columns
    judged = bool(classes(names)) or "errors" in names or "correct" in names
    order = ["wrong", "badness", "loss"] if judged else ["badness", "loss"]
    share = table.assign(wrong=table.wrong / table.runs)
    first = share.sort_values(order, ascending=False, kind="stable").index[:count]
    table = table.loc[first]
    table = table[table.badness > 0].copy()
    if "target" in every:
        table["target"] = [by_id.target.get_group(i).iloc[0] for i in table.id]
        table["prediction"] = [_typical(by_id.prediction.get_group(i)) for i in table.id]
    table = table.drop(columns=["badness"] if judged else ["badness", "wrong"])
    return _with_texts(table.reset_index(drop=True), texts)


def same_examples(predictions: Sequence[pd.DataFrame]) -> bool:
    """Whether an id means the same example in all of them: wherever it stands, its target is the same."""
    first = predictions[0]
    if any(set(one.columns) != set(first.columns) for one in predictions):
        return False
    fixed = [name for name in ("target", "scored", "steps") if name in first]
    every = pd.concat([one[["id", *fixed]] for one in predictions])
    return len(every.drop_duplicates()) == every.id.nunique()


def _typical(values: pd.Series) -> Any:
    """The mean of numbers, the commonest of names."""
    return values.mean() if values.dtype.kind in "fi" else values.value_counts().index[0]


def _with_texts(table: pd.DataFrame, texts: Texts | None) -> pd.DataFrame:
    return table if texts is None else table.assign(text=texts([int(i) for i in table.id]))


@dataclass(frozen=True)
class Group:
    """The runs of one variant under one condition that have kept predictions: by run_id, in order of seed."""

    variant: str
    condition: str
    runs: dict[str, pd.DataFrame]

    @property
    def pooled(self) -> pd.DataFrame:
        """All rows of all runs."""
        return pd.concat(list(self.runs.values()), ignore_index=True)

    @property
    def key(self) -> dict[str, str]:
        return {"variant": self.variant, "condition": self.condition}


def groups(tables: Tables, classified: bool = False) -> list[Group]:
    """A group a condition and variant, in the order of reports; runs whose file has other columns than the
    group's first are left out.

    Args:
        classified: only those of classifications.
    """
    found = []
    for condition in study.conditions(tables.runs):
        here = tables.runs[tables.runs.condition == condition]
        for variant in style.order(here.variant):
            ids = here[here.variant == variant].sort_values("seed").run_id
            kept = {run_id: table for run_id in ids if (table := tables.predictions(run_id)) is not None}
            first = next(iter(kept.values()), None)
            if first is None or (classified and not classes(first)):
                continue
            alike = {run_id: table for run_id, table in kept.items() if list(table) == list(first)}
            found.append(Group(variant, condition, alike))
    return found


def seeds(found: Sequence[Group]) -> str:
    """ "5 seeds", or "3 to 5 seeds" where groups differ."""
    low, *_, high = sorted(len(group.runs) for group in (*found, *found))
    return f"{low} seed{'s' * (low != 1)}" if low == high else f"{low} to {high} seeds"
