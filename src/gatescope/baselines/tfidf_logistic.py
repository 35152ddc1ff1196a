"""TF-IDF of words and word pairs, then logistic regression: the linear model of text classification."""

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
    """Sees the same token ids as the recurrent models do, the order of words only within `ngrams`.

    Args:
        ngrams: longest run of words that is a term.
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
        if task.inputs != "tokens":
            raise ValueError("model=tfidf_logistic reads tokens: choose text data, or model=series_logistic")
        self.task = task
        self.pipeline.fit(list(examples.inputs), class_targets(examples, task, "tfidf_logistic"))

    def predict(self, batch: Batch) -> Tensor:
        texts = [row[:length] for row, length in zip(batch.inputs, batch.lengths.tolist(), strict=True)]
        return logits(self.pipeline.predict_log_proba(texts), self.pipeline[-1].classes_, self.task)

    @property
    def parameters(self) -> int:
        model: LogisticRegression = self.pipeline[-1]
        return int(model.coef_.size + model.intercept_.size)
