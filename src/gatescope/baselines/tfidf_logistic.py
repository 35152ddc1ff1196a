"""Logistic regression on the TF-IDF of words and word pairs: the linear model of text classification."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import Tensor

from gatescope.baselines.base import Baseline, class_targets, logits
from gatescope.data.examples import Examples
from gatescope.sequences import Batch, TaskSpec


class TfidfLogistic(Baseline):
    """Classification of texts by the token ids that the recurrent models read.

    The order of words is used within `ngrams` only.

    Args:
        ngrams: number of consecutive words in the longest term.
        C: inverse strength of the L2 penalty.
    """

    task: TaskSpec

    def __init__(
        self, ngrams: Annotated[int, Field(ge=1)] = 2, C: Annotated[float, Field(gt=0)] = 1.0
    ) -> None:
        self.ngrams = ngrams
        self.pipeline = make_pipeline(
            TfidfVectorizer(analyzer=self._terms, sublinear_tf=True), LogisticRegression(C=C, max_iter=1000)
        )

    def _terms(self, tokens: Tensor) -> list[tuple[int, ...]]:
        ids = tokens.tolist()
        return [tuple(ids[i : i + n]) for n in range(1, self.ngrams + 1) for i in range(len(ids) - n + 1)]

    def fit(self, examples: Examples, task: TaskSpec) -> None:
        """Fit the vocabulary of terms and the regression."""
        if task.inputs != "tokens":
            raise ValueError("model=tfidf_logistic needs tokens: choose texts, or model=series_logistic")
        self.task = task
        self.pipeline.fit(list(examples.inputs), class_targets(examples, task, "tfidf_logistic"))

    def predict(self, batch: Batch) -> Tensor:
        """Return logits (B, K)."""
        texts = [row[:length] for row, length in zip(batch.inputs, batch.lengths.tolist(), strict=True)]
        return logits(self.pipeline.predict_log_proba(texts), self.pipeline[-1].classes_, self.task)

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        model: LogisticRegression = self.pipeline[-1]
        return int(model.coef_.size + model.intercept_.size)
