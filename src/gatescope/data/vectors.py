"""Pretrained word vectors from a file in GloVe's text format (Pennington et al. 2014): a word and its numbers
a line, parted by blanks. A first line of two integers, as word2vec writes it, is passed over."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatescope.data.rows import Problems, opened

log = logging.getLogger(__name__)


def embed(path: str, words: Sequence[str], counts: np.ndarray, padding: int) -> tuple[Tensor, dict[str, Any]]:
    """(V, D) float32, a row a word, and the coverage: shares of the words and of train's tokens found.

    Words that the file lacks are drawn from a normal distribution with the standard deviation of those found,
    always alike; the padding's row is zero. Memory is that of the result: the file is read line by line.

    Args:
        counts: (V,) how often each word occurs in train.
        padding: index of the word whose vector is zero.

    Raises:
        DataError: naming the lines at fault; or none of the words is in the file.
    """
    found = read_vectors(Path(path).expanduser(), words)
    rows = np.array(sorted(found))
    given = np.stack([found[i] for i in rows])
    drawn = np.random.default_rng(0).normal(0, given.std() or 1, (len(words), given.shape[1]))
    table = drawn.astype(np.float32)
    table[rows] = given
    table[padding] = 0
    covered = float(counts[rows].sum() / counts.sum())
    told = "%s: vectors for %d of %d words, which make up %.1f %% of the train tokens"
    log.info(told, path, len(rows), len(words), 100 * covered)
    coverage = {
        "vectors": Path(path).name,
        "vectors_cover_words": round(len(rows) / len(words), 6),
        "vectors_cover_tokens": round(covered, 6),
    }
    return torch.from_numpy(table), coverage


def read_vectors(path: Path, words: Sequence[str]) -> dict[int, np.ndarray]:
    """Vectors (D,) float32 by the index of their word in `words`; the first of a word's lines counts.

    Raises:
        DataError: lines of unlike width or without numbers, or no word in common.
    """
    index = {word: i for i, word in enumerate(words)}
    found: dict[int, np.ndarray] = {}
    problems, width = Problems(path), 0
    with opened(path) as lines:
        for number, line in enumerate(lines, 1):
            fields = line.rstrip().split(" ")
            if not line.strip() or (number == 1 and len(fields) == 2 and all(f.isdigit() for f in fields)):
                continue
            width = width or len(fields) - 1
            if len(fields) <= width or width == 0:
                problems.add(f"line {number}", f"{len(fields) - 1} numbers, and {width or 'some'} are due")
                continue
            place = index.get(" ".join(fields[:-width]))  # a few words of GloVe's hold blanks
            if place is None or place in found:
                continue
            try:
                vector = np.array(fields[-width:], dtype=np.float32)
            except ValueError as error:
                problems.add(f"line {number}", str(error))
                continue
            if not np.isfinite(vector).all():
                problems.add(f"line {number}", "NaN or infinity")
            found[place] = vector
    if not found and not problems.count:
        problems.add("", "none of the train texts' words is in it: words and their numbers are due, by lines")
    problems.check()
    return found
