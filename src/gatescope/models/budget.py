"""Equal budgets: the hidden size that spends a given number of parameters of the recurrent stack."""

from __future__ import annotations

import torch

from gatescope.models.stack import CellFactory, RecurrentStack


def stack_parameters(
    cell: CellFactory, input_size: int, hidden_size: int, layers: int, bidirectional: bool
) -> int:
    """Counted on the meta device: exact for any cell, nothing is allocated."""
    with torch.device("meta"):
        stack = RecurrentStack(cell, input_size, hidden_size, layers, bidirectional)
    return sum(p.numel() for p in stack.parameters())


def hidden_size_for(
    parameters: int, cell: CellFactory, input_size: int, layers: int = 1, bidirectional: bool = False
) -> int:
    """The hidden size whose stack comes nearest to `parameters` (bisection: the count grows with the size).

    Raises:
        ValueError: the budget is smaller than a stack of one unit.
    """

    def count(hidden: int) -> int:
        return stack_parameters(cell, input_size, hidden, layers, bidirectional)

    if parameters < count(1):
        raise ValueError(f"model.parameters={parameters} is below the {count(1)} that one unit needs")
    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= parameters else (low, middle)
    return min((low, high), key=lambda hidden: abs(count(hidden) - parameters))
