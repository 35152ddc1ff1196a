"""The linearised recurrence of one layer, walked backwards (adjoints) or forwards (tangents) from and to each
sequence's last step, several vectors at once.

A vector is a State of h, and c for cells with a memory cell, with any leading shape (…, B, H). The state at
*lag* k is state_{last-k}; both walks renormalise at every step and carry logarithms: neither underflows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State, States, join, last_index, split
from gatescope.cells.tensors import by_step, reverse_within
from gatescope.models.stack import LayerTrace


@dataclass
class Recursion:
    """`by_lag[k]`: what `jvp` needs of step last-k, (B, H) each; `back_by_lag[k]`: what `state_vjp` does.
    `lengths` (B,)."""

    cell: RecurrentLayer
    by_lag: list[dict[str, Tensor]]
    back_by_lag: list[dict[str, Tensor]]
    lengths: Tensor

    @property
    def size(self) -> int:
        """Numbers in a state: H, or 2H with a memory cell."""
        return self.cell.hidden_size * (2 if self.cell.has_memory_cell else 1)

    def random_units(self, shape: tuple[int, ...], seed: int) -> Tensor:
        """(*shape, B, size) random directions of norm 1, by a generator of its own."""
        like = next(iter(self.by_lag[0].values()))
        return random_units((*shape, len(self.lengths), self.size), like, seed)

    def back_through(self, adjoint: Tensor, lags: range) -> tuple[Tensor, Tensor]:
        """Through the steps at these lags, Jᵀ a: unit vector (…, B, size) and log norm (…, B). For lags
        0 … k-1 J is ∂state_last / ∂state_{last-k}."""
        norms = adjoint.new_ones(len(lags), *adjoint.shape[:-1])
        for step, lag in enumerate(lags):
            adjoint, norms[step] = unit(self.cell.state_vjp(adjoint, self.back_by_lag[lag]))
        return adjoint, norms.double().log().sum(0)

    def back_to(self, adjoints: Tensor, lags: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Each of (lags, B, size) to its own lag, these ascending: unit vectors and log norms (lags, B)."""
        vectors, norms = adjoints.clone(), adjoints.new_ones(lags[-1], *adjoints.shape[:-1])
        for lag in range(lags[-1]):
            still = bisect_right(lags, lag)
            moved = self.cell.state_vjp(vectors[still:], self.back_by_lag[lag])
            vectors[still:], norms[lag, still:] = unit(moved)
        return vectors, norms.double().log().sum(0)

    def forward_from(self, tangents: Tensor, lags: Sequence[int]) -> tuple[Tensor, Tensor]:
        """J v from each vector's own lag to the last state, likewise."""
        vectors, norms = tangents.clone(), tangents.new_ones(lags[-1], *tangents.shape[:-1])
        for lag in reversed(range(lags[-1])):
            there = bisect_right(lags, lag)
            moved = self.cell.jvp(split(self.cell, vectors[there:]), self.by_lag[lag])
            vectors[there:], norms[lag, there:] = unit(join(moved))
        return vectors, norms.double().log().sum(0)


def random_units(shape: tuple[int, ...], like: Tensor, seed: int) -> Tensor:
    """Random directions along the last axis, of norm 1, by a generator of their own; type as `like`'s."""
    return unit(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(like))[0]


def recursion(layer: LayerTrace) -> Recursion:
    """The recurrence of a traced layer, in its own time."""
    lengths = last_index(layer.states) + 1
    saved = layer.cell.linearise(layer.x, layer.states)
    turned = {name: reverse_within(values, lengths) for name, values in saved.items()}
    return Recursion(layer.cell, by_step(turned), by_step(layer.cell.prepare_vjp(turned)), lengths)


def take(layer: LayerTrace, rows: Tensor) -> LayerTrace:
    """The same trace of some examples only."""

    def of(values: Tensor | None) -> Any:
        return None if values is None else values[rows]

    states = layer.states
    initial = State(of(states.initial.h), of(states.initial.c))
    chosen = States(of(states.h), initial, of(states.lengths), of(states.c))
    return replace(layer, x=layer.x[rows], states=chosen)


def longest(layer: LayerTrace, count: int) -> Tensor:
    """Rows of the `count` longest sequences, the earlier first among equals."""
    return (last_index(layer.states)).argsort(descending=True, stable=True)[:count]


def unit(vector: Tensor) -> tuple[Tensor, Tensor]:
    """(…, n) -> the vector at norm 1, if it is not 0, and its norm (…)."""
    norm = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / norm.clamp_min(torch.finfo(vector.dtype).tiny), norm[..., 0]
