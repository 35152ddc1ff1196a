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

from gatescope.cells.base import RecurrentLayer, State, States, last_index, reverse_within
from gatescope.models.stack import LayerTrace


@dataclass
class Recursion:
    """`by_lag[k]`: what `vjp` and `jvp` need of step last-k, (B, H) each. `lengths` (B,)."""

    cell: RecurrentLayer
    by_lag: list[dict[str, Tensor]]
    lengths: Tensor

    @property
    def size(self) -> int:
        """Numbers in a state: H, or 2H with a memory cell."""
        return self.cell.hidden_size * (2 if self.cell.has_memory_cell else 1)

    def split(self, flat: Tensor) -> State:
        """(…, size) -> State."""
        return State(*flat.chunk(2, -1)) if self.cell.has_memory_cell else State(flat)

    def random_units(self, shape: tuple[int, ...], seed: int) -> Tensor:
        """(*shape, B, size) random directions of norm 1, by a generator of its own."""
        like = next(iter(self.by_lag[0].values()))
        return random_units((*shape, len(self.lengths), self.size), like, seed)

    def back_through(self, adjoint: Tensor, lags: range) -> tuple[Tensor, Tensor]:
        """Through the steps at these lags, Jᵀ a: unit vector (…, B, size) and log norm (…, B). For lags
        0 … k-1 J is ∂state_last / ∂state_{last-k}."""
        log = adjoint.new_zeros(adjoint.shape[:-1], dtype=torch.float64)
        for lag in lags:
            previous = self.cell.vjp(self.split(adjoint), self.by_lag[lag]).previous
            adjoint, growth = unit(join(previous))
            log = log + growth
        return adjoint, log

    def back_to(self, adjoints: Tensor, lags: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Each of (lags, B, size) to its own lag, these ascending: unit vectors and log norms (lags, B)."""
        vectors, log = adjoints.clone(), adjoints.new_zeros(adjoints.shape[:-1], dtype=torch.float64)
        for lag in range(lags[-1]):
            still = bisect_right(lags, lag)
            vectors[still:], growth = self.back_through(vectors[still:], range(lag, lag + 1))
            log[still:] += growth
        return vectors, log

    def forward_from(self, tangents: Tensor, lags: Sequence[int]) -> tuple[Tensor, Tensor]:
        """J v from each vector's own lag to the last state, likewise."""
        vectors, log = tangents.clone(), tangents.new_zeros(tangents.shape[:-1], dtype=torch.float64)
        for lag in reversed(range(lags[-1])):
            there = bisect_right(lags, lag)
            moved = self.cell.jvp(self.split(vectors[there:]), self.by_lag[lag])
            vectors[there:], growth = unit(join(moved))
            log[there:] += growth
        return vectors, log


def random_units(shape: tuple[int, ...], like: Tensor, seed: int) -> Tensor:
    """Random directions along the last axis, of norm 1, by a generator of their own; type as `like`'s."""
    return unit(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(like))[0]


def recursion(layer: LayerTrace) -> Recursion:
    """The recurrence of a traced layer, in its own time."""
    lengths = last_index(layer.states) + 1
    saved = layer.cell.linearise(layer.x, layer.states)
    turned = {name: reverse_within(values, lengths).unbind(1) for name, values in saved.items()}
    steps = layer.x.shape[1]
    return Recursion(layer.cell, [{n: v[k] for n, v in turned.items()} for k in range(steps)], lengths)


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


def join(state: State) -> Tensor:
    """h and c side by side, (…, H) or (…, 2H)."""
    return state.h if state.c is None else torch.cat([state.h, state.c], dim=-1)


def unit(vector: Tensor) -> tuple[Tensor, Tensor]:
    """(…, n) -> the vector at norm 1 and the logarithm of its norm, -inf for a zero vector."""
    norm = vector.norm(dim=-1, keepdim=True)
    return vector / norm.clamp_min(torch.finfo(vector.dtype).tiny), norm[..., 0].double().log()
