"""Texts that are nearly the same, found among many without comparing each with each.

Two texts are near-duplicates when the Jaccard index of their sets of 3-shingles, of characters or of words,
is above a threshold; near-duplicates of near-duplicates are in one group. Pairs to compare are found by
MinHash and banding (Broder 1997; Leskovec, Rajaraman & Ullman, ch. 3): of pairs at an index of 0.7, one in a
hundred thousand is missed, of closer ones fewer. The pairs found are compared exactly.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

BANDS, ROWS = 64, 5
"""Texts are compared where all hashes of a band agree, in any of the bands."""
PAIRS = 50_000
"""Compared at a time, which bounds the memory."""


def near_duplicate_groups(texts: Sequence[str], above: float = 0.7) -> np.ndarray:
    """Number the groups of near-duplicates.

    Args:
        texts: words with one blank between them, in whatever form they are to be compared.
        above: the Jaccard index above which two texts are near-duplicates.

    Returns:
        (N,) the group of each text, from 0.
    """
    pairs = [similar_pairs(shingles, above) for shingles in (of_characters(texts), of_words(texts))]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(texts), len(texts)))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups


def of_characters(texts: Sequence[str]) -> csr_matrix:
    """(N, shingles) ones where a text holds three characters in a row; a shorter text is one shingle."""
    padded = [text.ljust(3, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32)
    return _shingles(codes, np.array([len(text) for text in padded]))


def of_words(texts: Sequence[str]) -> csr_matrix:
    """(N, shingles) ones where a text holds three words in a row; a shorter text is one shingle."""
    index: dict[str, int] = {}
    numbers, lengths = array("q"), []
    for text in texts:
        words = [index.setdefault(word, len(index) + 1) for word in text.split()]
        words += [0] * (3 - len(words))
        numbers.extend(words)
        lengths.append(len(words))
    return _shingles(np.frombuffer(numbers, dtype=np.int64), np.array(lengths))


def _shingles(symbols: np.ndarray, lengths: np.ndarray) -> csr_matrix:
    """Of sequences of numbers below 2^21, each of at least three, one after another."""
    counts = lengths - 2
    starts = np.repeat(np.cumsum(lengths) - lengths, counts) + _places(counts)
    codes = symbols.astype(np.uint64)
    numbers = sum(codes[starts + i] << np.uint64(21 * i) for i in range(3))
    _, columns = np.unique(numbers, return_inverse=True)
    rows = np.repeat(np.arange(len(lengths)), counts)
    found = csr_matrix((np.ones(len(rows), np.int32), (rows, columns.ravel())))
    found.sum_duplicates()
    found.data[:] = 1
    return found


def _places(counts: np.ndarray) -> np.ndarray:
    """0, 1, … up to each count, one after another."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def similar_pairs(shingles: csr_matrix, above: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows i < j whose Jaccard index is above a threshold."""
    sizes = np.diff(shingles.indptr)
    first, second = _candidates(shingles)
    alike = np.minimum(sizes[first], sizes[second]) > above * np.maximum(sizes[first], sizes[second])
    first, second = first[alike], second[alike]
    kept = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), PAIRS):
        i, j = first[start : start + PAIRS], second[start : start + PAIRS]
        shared = np.asarray(shingles[i].multiply(shingles[j]).sum(1)).ravel()
        kept[start : start + PAIRS] = shared > above * (sizes[i] + sizes[j] - shared)
    return first[kept], second[kept]


def _candidates(shingles: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Rows i < j that agree in all hashes of a band."""
    found = [_pairs_of_equals(band) for band in _bands(shingles)]
    count = shingles.shape[0]
    pairs = np.unique(np.concatenate(found))
    return pairs // count, pairs % count


def _bands(shingles: csr_matrix) -> Iterator[np.ndarray]:
    """(N,) a number for the least hashes of a band, for each band."""
    generator = np.random.default_rng(0)
    order = np.arange(shingles.shape[1], dtype=np.uint32)
    for _ in range(BANDS):
        number = np.zeros(shingles.shape[0], dtype=np.uint64)
        for _ in range(ROWS):
            hashes = generator.permutation(order)[shingles.indices]
            least = np.minimum.reduceat(hashes, shingles.indptr[:-1])
            number = number * np.uint64(0x9E3779B97F4A7C15) + least
        yield number


def _pairs_of_equals(numbers: np.ndarray) -> np.ndarray:
    """i * N + j of all i < j that have the same number."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[first, len(numbers)])
    after = np.repeat(first + sizes, sizes) - np.arange(len(numbers)) - 1  # how many follow in the same run
    left = np.repeat(np.arange(len(numbers)), after)
    right = left + 1 + _places(after)
    return order[left] * len(numbers) + order[right]
