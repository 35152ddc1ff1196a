"""Pretrained word vectors from a file in GloVe's text format (Pennington et al. 2014).

A line holds a word and its values, separated by spaces. A first line of two integers, as word2vec writes it,
is skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatescope.data.errors import Problems
from gatescope.data.text_io import open_text

log = logging.getLogger(__name__)


def load_embeddings(
    path: str, words: Sequence[str], counts: np.ndarray, padding: int
) -> tuple[Tensor, dict[str, Any]]:
    """Load the embeddings of a vocabulary.

    Words that the file lacks are drawn from a normal distribution with the standard deviation of the loaded
    vectors, with a fixed seed; the vector of the padding is zero. The file is read line by line, so that
    memory is needed for the result only.

    Args:
        path: of the file.
        words: the vocabulary, V words.
        counts: (V,) number of occurrences of each word in train.
        padding: index of the padding.

    Returns:
        (V, D) float32, and the coverage: the shares of the words and of the train tokens that have a vector.

    Raises:
        DataError: lines are wrong, or none of the words is in the file.
    """
    vectors = read_vectors(Path(path).expanduser(), words)
    rows = np.array(sorted(vectors))
    loaded = np.stack([vectors[i] for i in rows])
    drawn = np.random.default_rng(0).normal(0, loaded.std() or 1, (len(words), loaded.shape[1]))
    table = drawn.astype(np.float32)
    table[rows] = loaded
    table[padding] = 0
    covered = float(counts[rows].sum() / counts.sum())
    message = "%s: vectors for %d of %d words, which make up %.1f %% of the train tokens"
    log.info(message, path, len(rows), len(words), 100 * covered)
    coverage = {
        "vectors": Path(path).name,
        "vectors_cover_words": round(len(rows) / len(words), 6),
        "vectors_cover_tokens": round(covered, 6),
    }
    return torch.from_numpy(table), coverage


def read_vectors(path: Path, words: Sequence[str]) -> dict[int, np.ndarray]:
    """Read the vectors of some words; of several lines for a word the first counts.

    Args:
        path: of the file.
        words: the words to read.

    Returns:
        Vectors (D,) float32 by the index of their word.

    Raises:
        DataError: lines differ in width or hold no numbers, or no word occurs in the file.
    """
    index = {word: i for i, word in enumerate(words)}
    vectors: dict[int, np.ndarray] = {}
    problems, width = Problems(path), 0
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            fields = line.rstrip().split(" ")
            if not line.strip() or (number == 1 and len(fields) == 2 and all(f.isdigit() for f in fields)):
                continue
            width = width or len(fields) - 1
            if len(fields) <= width or width == 0:
                problems.add(f"line {number}", f"expected {width or 'some'} numbers, found {len(fields) - 1}")
                continue
            place = index.get(" ".join(fields[:-width]))  # some words of GloVe hold spaces
            if place is None or place in vectors:
                continue
            try:
                vector = np.array(fields[-width:], dtype=np.float32)
            except ValueError as error:
                problems.add(f"line {number}", str(error))
                continue
            if not np.isfinite(vector).all():
                problems.add(f"line {number}", "NaN or infinity")
            vectors[place] = vector
    if not vectors and not problems.count:
        problems.add("", "it holds none of the words of train; each line must hold a word and its values")
    problems.check()
    return vectors
