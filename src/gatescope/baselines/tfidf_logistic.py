"""TF-IDF of words and word pairs, then logistic regression: the linear model of text classification."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import Tensor

from gatescope.baselines.base import Baseline, labels
from gatescope.data.base import Examples


class TfidfLogistic(Baseline):
    """Sees the same token ids as the recurrent models do, the order of words only within `ngrams`."""

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

    def fit(self, examples: Examples) -> None:
        if examples.inputs[0].is_floating_point():
            raise ValueError("model=tfidf_logistic reads tokens: choose text data")
        self.pipeline.fit(list(examples.inputs), labels(examples))

    def predict(self, examples: Examples) -> np.ndarray:
        return np.asarray(self.pipeline.predict(list(examples.inputs)))

    @property
    def parameters(self) -> int:
        model: LogisticRegression = self.pipeline[-1]
        return int(model.coef_.size + model.intercept_.size)
