"""Several calls of a module that continue each other, as one pass: a decoder that is called step by step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from gatescope.cells.adjoint import Adjoint, DenseAdjoint
from gatescope.cells.state import State, States
from gatescope.models.traces import LayerTrace
from gatescope.watching.capture import Call
from gatescope.watching.passes import Pass


def continues(first: Call, second: Call) -> bool:
    """Return whether a call starts from the states that another ended with."""
    return (
        first.model is second.model
        and first.packing is None
        and second.packing is None
        and first.model.stack.directions == 1
        and len(second.initial) > 0
        and all(torch.equal(a, b) for a, b in zip(first.final, second.initial, strict=True))
    )


def can_merge(calls: Sequence[Call]) -> bool:
    """Return whether each call continues the one before it."""
    return all(continues(first, second) for first, second in pairwise(calls))


class MergedPass:
    """Calls that continue each other, with the interface of a `Pass`.

    Args:
        passes: the calls in order.
    """

    def __init__(self, passes: Sequence[Pass]) -> None:
        self.passes, self.model, self.lengths = passes, passes[0].model, None

    @cached_property
    def traces(self) -> dict[str, LayerTrace]:
        """The forward pass of each layer, by name."""
        return {name: self._trace(name) for name in self.passes[0].traces}

    def _trace(self, name: str) -> LayerTrace:
        parts = [one.traces[name] for one in self.passes]
        cell = parts[0].cell
        memories = [cell.memory(part.x, part.states) for part in parts]
        c = torch.cat([m for m in memories if m is not None], dim=1) if cell.has_memory_cell else None
        h = torch.cat([part.states.h for part in parts], dim=1)
        first = parts[0].states.initial
        states = States(h, State(first.h, first.c), None, c)
        return LayerTrace(cell, torch.cat([part.x for part in parts], dim=1), states, False)

    @property
    def output_error(self) -> float:
        """Largest relative difference of the recomputed states from the module's own."""
        return max(one.output_error for one in self.passes)

    @property
    def has_gradient(self) -> bool:
        """Whether a backward pass has reached one of the calls."""
        return any(one.has_gradient for one in self.passes)

    @cached_property
    def adjoints(self) -> dict[str, Adjoint]:
        """The exact ∂L/∂state of each layer, by name."""
        merged: dict[str, Adjoint] = {}
        for name in self.traces:
            parts = [one.adjoints[name] for one in self.passes]
            c = None if parts[0].c is None else torch.cat([p.c for p in parts if p.c is not None], dim=1)
            h, inputs = (torch.cat([getattr(p, part) for p in parts], dim=1) for part in ("h", "inputs"))
            merged[name] = DenseAdjoint(h, c, torch.cat([p.log_scale for p in parts], dim=1), inputs)
        return merged

    def h(self, name: str) -> Tensor:
        """Return the states of one layer, (B, T, H)."""
        return torch.cat([one.h(name) for one in self.passes], dim=1)

    def h_grad(self, name: str) -> Tensor:
        """Return ∂L/∂h_t in full, (B, T, H)."""
        return torch.cat([one.h_grad(name) for one in self.passes], dim=1)

    @property
    def inputs(self) -> Tensor:
        """The input (B, T, D)."""
        return torch.cat([one.inputs for one in self.passes], dim=1)

    @property
    def readout_grad(self) -> Tensor:
        """The gradient that entered at the outputs, and at the last h of the last call, (B, T, S)."""
        *earlier, last = self.passes
        return torch.cat([*(one.output_grad for one in earlier), last.readout_grad], dim=1)
