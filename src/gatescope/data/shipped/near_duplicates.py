"""Near-duplicates among many texts, found without comparing every pair.

Two texts are near-duplicates if the Jaccard index of their sets of 3-shingles, of characters or of words, is
above a threshold; near-duplicates of near-duplicates belong to one group. Candidate pairs are found by
MinHash and banding (Broder 1997; Leskovec, Rajaraman & Ullman, ch. 3), which misses one in a hundred thousand
pairs with an index of 0.7, and fewer of more similar ones. The candidates are compared exactly.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from gatescope.data.ragged import ranges

BANDS, ROWS = 64, 5
"""Texts are compared if all ROWS hashes of a band agree, in any of the bands."""
CHUNK = 50_000
"""Number of pairs that are compared at a time, which bounds the memory."""


def near_duplicate_groups(texts: Sequence[str], above: float = 0.7) -> np.ndarray:
    """Return the group of near-duplicates of each text.

    Args:
        texts: words separated by one blank, in the form that is compared.
        above: threshold of the Jaccard index above which two texts are near-duplicates.

    Returns:
        (N,) the group of each text, from 0.
    """
    pairs = [similar_pairs(shingles, above) for shingles in (character_shingles(texts), word_shingles(texts))]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(texts), len(texts)))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups


def character_shingles(texts: Sequence[str]) -> csr_matrix:
    """Return (N, shingles), 1 if a text holds three consecutive characters; a shorter text is one shingle."""
    padded = [text.ljust(3, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32)
    return _shingles(codes, np.array([len(text) for text in padded]))


def word_shingles(texts: Sequence[str]) -> csr_matrix:
    """Return (N, shingles), 1 if a text holds three consecutive words; a shorter text is one shingle."""
    index: dict[str, int] = {}
    numbers, lengths = array("q"), []
    for text in texts:
        words = [index.setdefault(word, len(index) + 1) for word in text.split()]
        words += [0] * (3 - len(words))
        numbers.extend(words)
        lengths.append(len(words))
    return _shingles(np.frombuffer(numbers, dtype=np.int64), np.array(lengths))


def _shingles(symbols: np.ndarray, lengths: np.ndarray) -> csr_matrix:
    """Return the shingles of sequences of numbers below 2^21, concatenated, each of length at least 3."""
    counts = lengths - 2
    starts = ranges(np.cumsum(lengths) - lengths, counts)
    codes = symbols.astype(np.uint64)
    numbers = sum(codes[starts + i] << np.uint64(21 * i) for i in range(3))
    _, columns = np.unique(numbers, return_inverse=True)
    rows = np.repeat(np.arange(len(lengths)), counts)
    shingles = csr_matrix((np.ones(len(rows), np.int32), (rows, columns.ravel())))
    shingles.sum_duplicates()
    shingles.data[:] = 1
    return shingles


def similar_pairs(shingles: csr_matrix, above: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows i < j whose Jaccard index is above a threshold."""
    sizes = np.diff(shingles.indptr)
    first, second = _candidates(shingles)
    # The index is at most the ratio of the sizes.
    possible = np.minimum(sizes[first], sizes[second]) > above * np.maximum(sizes[first], sizes[second])
    first, second = first[possible], second[possible]
    similar = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), CHUNK):
        i, j = first[start : start + CHUNK], second[start : start + CHUNK]
        shared = np.asarray(shingles[i].multiply(shingles[j]).sum(1)).ravel()
        similar[start : start + CHUNK] = shared > above * (sizes[i] + sizes[j] - shared)
    return first[similar], second[similar]


def _candidates(shingles: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows i < j that agree in all hashes of a band."""
    count = shingles.shape[0]
    pairs = np.unique(np.concatenate([_equal_pairs(numbers) for numbers in _band_numbers(shingles)]))
    return pairs // count, pairs % count


def _band_numbers(shingles: csr_matrix) -> Iterator[np.ndarray]:
    """Yield for each band a number (N,) that combines its minimal hashes of each text."""
    generator = np.random.default_rng(0)
    order = np.arange(shingles.shape[1], dtype=np.uint32)
    for _ in range(BANDS):
        number = np.zeros(shingles.shape[0], dtype=np.uint64)
        for _ in range(ROWS):
            hashes = generator.permutation(order)[shingles.indices]
            minimal = np.minimum.reduceat(hashes, shingles.indptr[:-1])
            number = number * np.uint64(0x9E3779B97F4A7C15) + minimal
        yield number


def _equal_pairs(numbers: np.ndarray) -> np.ndarray:
    """Return i * N + j for all i < j with equal numbers."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[first, len(numbers)])
    following = np.repeat(first + sizes, sizes) - np.arange(len(numbers)) - 1  # later ones of the same run
    left = np.repeat(np.arange(len(numbers)), following)
    right = ranges(np.arange(1, len(numbers) + 1), following)
    return order[left] * len(numbers) + order[right]
