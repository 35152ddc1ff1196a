"""Equal budgets: the hidden size that spends a given number of parameters between embedding and head.

Counted is all that turns embedded inputs into what the head reads: the recurrent stack and attention, and of
a decoder its layers, its start from the encoder's state, its attention and what combines the two. Embeddings
and the last map onto the answers are not: they follow from the vocabulary and the labels. Sizes are whole
numbers, so small budgets are met less closely: one unit of an LSTM is 5 % of 10,000 parameters. One layer
comes within about 1 % from 50,000 parameters on, two layers of two directions from 500,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

Build = Callable[[int], Iterable[nn.Module]]
"""Hidden size -> the modules between embedding and head."""
GRANULARITY = 64
"""Sizes are tried up to here for the least that can be built: attention's heads must divide the states."""


def count_parameters(modules: Iterable[nn.Module]) -> int:
    """Numbers in the parameters of all modules together, a shared one once."""
    distinct = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(distinct.values())


def hidden_size_for(parameters: int, build: Build) -> int:
    """The hidden size whose modules come nearest to `parameters` (bisection: the count grows with the size).

    Counted on the meta device: exact for any cell and attention, and nothing is allocated. Where heads must
    divide the states, multiples of the least size that can be built are tried.

    Raises:
        ValueError: the budget is smaller than the least that can be built, or nothing can be.
    """
    unit = _least(build)

    def count(units: int) -> int:
        return _count(build, units * unit)

    if parameters < count(1):
        name = "one unit needs" if unit == 1 else f"{unit} units need, the fewest that can be built"
        raise ValueError(f"model.parameters={parameters} is below the {count(1)} that {name}")
    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= parameters else (low, middle)
    return unit * min((low, high), key=lambda units: abs(count(units) - parameters))


def _count(build: Build, hidden_size: int) -> int:
    with torch.device("meta"):
        return count_parameters(build(hidden_size))


def _least(build: Build) -> int:
    for hidden_size in range(1, GRANULARITY):
        try:
            _count(build, hidden_size)
        except ValueError:
            continue
        return hidden_size
    _count(build, GRANULARITY)  # or its reason
    return GRANULARITY
