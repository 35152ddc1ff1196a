"""What the runs of a sweep were about, in words: the question of a study that declares none."""

from __future__ import annotations

from collections.abc import Iterable

from gatescope.analysis import style, words
from gatescope.analysis.tables import Tables

MAX_NAMED = 6
"""Most models or datasets that are named; more are counted."""


def question(tables: Tables) -> str:
    """Return what the runs compare, such as "GRU and LSTM on tweets, by learning rate"."""
    runs = tables.runs
    cells = dict.fromkeys(style.split(variant)[0] for variant in style.order(runs.variant))
    labels = [words.variant(cell) for cell in cells]
    data = sorted({str(name).replace("_", " ") for name in runs.data if name})
    by = [
        words.key(key)
        for key in dict.fromkeys(k for axes in tables.axes.values() for k in axes)
        if key != "data"
    ]
    if len({style.split(variant)[1] for variant in runs.variant}) > 1:
        by.insert(0, "attention")
    text = _listed(labels, "models")
    text += f" on {_listed(data, 'datasets')}" if data else ""
    return f"{text}, by {_listed(by, 'settings')}" if by else text


def _listed(names: Iterable[str], noun: str) -> str:
    """Return "a, b and c", or "9 models" of many."""
    names = list(names)
    if len(names) > MAX_NAMED:
        return f"{len(names)} {noun}"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
