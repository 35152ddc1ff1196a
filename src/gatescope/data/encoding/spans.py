"""Spans of tagged sequences (B-PER I-PER O …), found by seqeval (Nakayama 2018; the extra `tagging`).

A tag is O, or one of B-, I-, E- and S- before the type of its span. seqeval's default reads all schemes as
the script of CoNLL does: a span also begins at an I- after O or after another type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gatescope.data.errors import DataError

OUTSIDE = "O"
PREFIXES = ("B-", "I-", "E-", "S-")


def has_spans(tags: Sequence[str]) -> bool:
    """Return whether tags mark spans: each is O or has a prefix, and some begin a span."""
    inside = [tag for tag in tags if tag != OUTSIDE]
    return bool(inside) and all(tag.startswith(PREFIXES) for tag in inside)


def span_types(tags: Sequence[str]) -> list[str]:
    """Return the types of the spans, sorted."""
    return sorted({tag[2:] for tag in tags if tag != OUTSIDE})


def require_seqeval() -> Any:
    """Return seqeval's function from the tags of a sequence to its spans.

    Raises:
        DataError: seqeval is not installed.
    """
    try:
        from seqeval.metrics.sequence_labeling import get_entities
    except ModuleNotFoundError as error:
        raise DataError(
            "the tags mark spans (B-, I-), whose F1 needs the package seqeval, which is not installed: "
            "pip install 'gatescope[tagging]'; data.spans=false compares tags alone"
        ) from error
    return get_entities


def span_counts(true: Sequence[str], predicted: Sequence[str], types: Sequence[str]) -> np.ndarray:
    """Count the spans of a sequence.

    Args:
        true: its true tags.
        predicted: its predicted tags.
        types: of the spans.

    Returns:
        (3, len(types)) int64: for each type the spans in both, those predicted, and those that are true.
    """
    find, index = require_seqeval(), {name: k for k, name in enumerate(types)}
    found = [set(find(list(tags))) for tags in (true, predicted)]
    counts = np.zeros((3, len(types)), dtype=np.int64)
    for row, spans in enumerate((found[0] & found[1], found[1], found[0])):
        for name, *_ in spans:
            counts[row, index[name]] += 1
    return counts
