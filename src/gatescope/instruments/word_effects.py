"""What a word does to the slow modes of a layer, beside its weight in a logistic regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from gatescope.instruments.linearised import Linearisation
from gatescope.instruments.modes import Modes
from gatescope.sequences import Batch, TaskSpec, valid_mask

ITERATIONS = 200
"""Most iterations of the logistic regression; more change no weight visibly."""


@dataclass(frozen=True)
class WordEffects:
    """Effects of words, one column for each output: one for two classes, else one for each class, centred.

    Attributes:
        words: (M,) token ids, the most frequent first.
        counts: (M,) occurrences in the texts of the regression.
        effects: (M, K), change of the outputs (logits) by a word in place of the constant input, of it the
            part that the slow modes keep.
        later: (M, K), the whole change, half a text later.
        weights: (M, K), its weight in a logistic regression.
    """

    words: np.ndarray
    counts: np.ndarray
    effects: np.ndarray
    later: np.ndarray
    weights: np.ndarray

    def correlation(self, effects: np.ndarray) -> float:
        """Return the correlation of effects and weights over words and outputs; NaN without spread."""
        x, y = effects.ravel(), self.weights.ravel()
        if len(x) < 3 or x.std() == 0 or y.std() == 0:
            return float("nan")
        return float(np.corrcoef(x, y)[0, 1])


def word_effects(
    linear: Linearisation,
    modes: Modes,
    readout: Tensor,
    slow: int,
    steps: int,
    embedding: Tensor,
    texts: Batch,
    task: TaskSpec,
    least: int,
) -> WordEffects:
    """Compute the effects of the frequent words of texts.

    The effect is W Π B (e − x̄): the first-order change of the state by the word's vector e, of it the part
    that the slow modes keep, as the outputs read it. The effect some steps later is W Jᵐ B (e − x̄). Both are
    means over the points.

    Args:
        linear: the expansions at the points.
        modes: their modes.
        readout: (K, n), gradient of each output at the state.
        slow: number of slow modes.
        steps: number of steps m.
        embedding: (V, D), the vectors of all words.
        texts: texts with labels.
        task: the task, a classification.
        least: least number of occurrences of a word.
    """
    rows, labels = count_words(texts, task.input_size), texts.targets.long().cpu().numpy()
    counts = np.asarray(rows.sum(0)).ravel()
    words = np.flatnonzero(counts >= least)
    words = words[np.argsort(-counts[words], kind="stable")]
    vectors = embedding[torch.from_numpy(words).to(embedding.device)].double() - linear.step.x

    def through(propagation: Tensor) -> np.ndarray:
        onto_outputs = (readout @ propagation @ linear.input_jacobians).mean(0)
        return centred((vectors @ onto_outputs.T).cpu().numpy())

    effects = through(modes.projector(slow))
    later = through(torch.linalg.matrix_power(linear.jacobians, steps))
    weights = centred(regression_weights(rows, labels, effects.shape[1])[words])
    return WordEffects(words, counts[words], effects, later, weights)


def count_words(texts: Batch, size: int) -> csr_matrix:
    """Return the number of occurrences of each of `size` words in each text, (N, size)."""
    mask = valid_mask(texts.lengths, texts.inputs.shape[1]).cpu().numpy()
    row, column = np.nonzero(mask)
    ids = texts.inputs.cpu().numpy()[row, column]
    return csr_matrix((np.ones(len(ids)), (row, ids)), shape=(len(mask), size))


def regression_weights(rows: csr_matrix, labels: np.ndarray, outputs: int) -> np.ndarray:
    """Return the weights of a logistic regression (V, outputs); zeros where the texts lack a class."""
    if len(np.unique(labels)) < max(2, outputs):
        return np.zeros((rows.shape[1], outputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights: np.ndarray = LogisticRegression(max_iter=ITERATIONS).fit(rows, labels).coef_
    return weights.T


def centred(values: np.ndarray) -> np.ndarray:
    """Subtract the mean over classes, which no prediction depends on, from (M, K); a single column stays."""
    return values if values.shape[1] == 1 else values - values.mean(1, keepdims=True)
