"""The division of pairs of source and target into splits: no source is in two of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from gatescope.data.division import Division
from gatescope.data.errors import DataError

Source = tuple[str, str]
"""The group of a source ("" without groups), and the source."""
TargetsBySource = dict[Source, list[str]]
"""The targets of each source, in the order of the file."""


def divide(
    parts: Mapping[str, TargetsBySource], path: Path, division: Division
) -> dict[str, TargetsBySource]:
    """Divide the sources into splits: by file, or as `division` says.

    Args:
        parts: the content of each file, by part.
        path: of the train file, for messages.
        division: of the train file; a part with a file of its own gets none of its sources.

    Raises:
        DataError: there are too few sources to divide.
    """
    train = parts["train"]
    sources = list(train)
    names, groups = np.unique([group for group, _ in sources], return_inverse=True)
    too_few = f"{path}: {len(train)} different sources are too few to divide into splits"
    if division.folds is None and names.tolist() == [""]:
        rows = _by_share(len(sources), parts, division)
        if not len(rows["train"]):
            raise DataError(too_few)
    else:
        own = None if names.tolist() == [""] else groups
        try:
            rows = division.split(np.arange(len(sources)), None, own, parts)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        except ValueError as error:
            raise DataError(f"{too_few}: {error}") from error
    return dict(parts) | {part: {sources[i]: train[sources[i]] for i in own} for part, own in rows.items()}


def _by_share(count: int, given: Collection[str], division: Division) -> dict[str, np.ndarray]:
    """Return the rows of train and of the parts that are not given, of at least one source each."""
    order = np.random.default_rng(division.seed).permutation(count)
    rows: dict[str, np.ndarray] = {}
    for part, share in (("test", division.test), ("validation", division.validation)):
        if part not in given:
            size = max(1, round(share * count))
            rows[part], order = order[:size], order[size:]
    return rows | {"train": order}
