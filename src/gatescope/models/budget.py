"""Equal parameter budgets: the hidden size that uses a given number of parameters.

The budget counts everything between the embedding and the head: the recurrent stack and attention, and of a
decoder its layers, the map from the encoder's last state, its attention and the layer that combines both.
The embedding and the output layer are not counted, because the vocabulary and the labels determine them.

Hidden sizes are whole numbers, so small budgets are met less closely: one hidden unit of an LSTM is 5 % of
10,000 parameters. One layer is within about 1 % from 50,000 parameters on, two bidirectional layers from
500,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

Build = Callable[[int], Iterable[nn.Module]]
"""Builds the modules between embedding and head from a hidden size."""
LARGEST_UNIT = 64
"""Largest hidden size tried for the smallest one that can be built (heads must divide the states)."""


class BudgetTooSmall(ValueError):
    """A budget below the parameters of the smallest model."""


def count_parameters(modules: Iterable[nn.Module]) -> int:
    """Count the elements of all parameters; a shared parameter counts once."""
    distinct = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(distinct.values())


def hidden_size_for(parameters: int, build: Build) -> int:
    """Find the hidden size whose modules have the number of parameters nearest to the budget.

    The search is a bisection, since the count grows with the hidden size. Modules are built on the meta
    device: the count is exact for any cell and attention, and no memory is allocated. Where heads must divide
    the states, only multiples of the smallest hidden size that can be built are tried.

    Args:
        parameters: the budget.
        build: builds the modules from a hidden size.

    Raises:
        BudgetTooSmall: the budget is below that of the smallest model.
        ValueError: no model can be built.
    """
    unit = _smallest_hidden_size(build)

    def count(units: int) -> int:
        return _count(build, units * unit)

    if parameters < count(1):
        name = "one unit needs" if unit == 1 else f"{unit} units need, the fewest that can be built"
        raise BudgetTooSmall(f"model.parameters={parameters} is below the {count(1)} that {name}")
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


def _smallest_hidden_size(build: Build) -> int:
    """Return the smallest hidden size that can be built, which divides all others."""
    for hidden_size in range(1, LARGEST_UNIT):
        try:
            _count(build, hidden_size)
        except ValueError:
            continue
        return hidden_size
    _count(build, LARGEST_UNIT)  # raises the error of the model where this size cannot be built either
    return LARGEST_UNIT
