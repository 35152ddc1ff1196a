"""Products with the Jacobians of one layer's recurrence, over several steps and for several vectors at once.

A vector is a whole state (…, B, n): h, or h and c side by side for cells with a memory cell. The state at
*lag* k is state_{last−k}, counted back from each sequence's last step. Vectors are normalised at every step
and the logarithms of their norms are summed, so that nothing underflows or overflows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State, States, join, split
from gatescope.cells.tensors import by_step, reverse_within
from gatescope.models.traces import LayerTrace


@dataclass
class Recursion:
    """The linearised recurrence of one layer.

    Attributes:
        cell: the layer.
        by_lag: for each lag, what `cell.jvp` needs of that step, (B, H) each.
        vjp_by_lag: for each lag, what `cell.state_vjp` needs of that step.
        lengths: (B,).
    """

    cell: RecurrentLayer
    by_lag: list[dict[str, Tensor]]
    vjp_by_lag: list[dict[str, Tensor]]
    lengths: Tensor

    @property
    def size(self) -> int:
        """Numbers n in a state: H, or 2H with a memory cell."""
        return state_size(self.cell)

    def random_units(self, shape: tuple[int, ...], seed: int) -> Tensor:
        """Draw random unit vectors (*shape, B, n)."""
        like = next(iter(self.by_lag[0].values()))
        return random_units((*shape, len(self.lengths), self.size), like, seed)

    def vjp_through(self, vectors: Tensor, lags: range) -> tuple[Tensor, Tensor]:
        """Multiply by the transposed Jacobian Jᵀ of the steps at these lags.

        For lags 0 … k−1, J is ∂state_last / ∂state_{last−k}.

        Args:
            vectors: (…, B, n).
            lags: consecutive lags, ascending.

        Returns:
            Unit vectors (…, B, n) and log norms (…, B).
        """
        norms = vectors.new_ones(len(lags), *vectors.shape[:-1])
        for step, lag in enumerate(lags):
            vectors, norms[step] = normalise(self.cell.state_vjp(vectors, self.vjp_by_lag[lag]))
        return vectors, norms.double().log().sum(0)

    def vjp_to(self, vectors: Tensor, lags: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Multiply each vector at the last state by the transposed Jacobian to its own lag.

        Args:
            vectors: (lags, B, n).
            lags: the lag of each vector, ascending.

        Returns:
            Unit vectors (lags, B, n) and log norms (lags, B).
        """
        vectors, norms = vectors.clone(), vectors.new_ones(lags[-1], *vectors.shape[:-1])
        for lag in range(lags[-1]):
            first = bisect_right(lags, lag)
            products = self.cell.state_vjp(vectors[first:], self.vjp_by_lag[lag])
            vectors[first:], norms[lag, first:] = normalise(products)
        return vectors, norms.double().log().sum(0)

    def jvp_from(self, vectors: Tensor, lags: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Multiply each vector at its own lag by the Jacobian to the last state.

        Args:
            vectors: (lags, B, n).
            lags: the lag of each vector, ascending.

        Returns:
            Unit vectors (lags, B, n) and log norms (lags, B).
        """
        vectors, norms = vectors.clone(), vectors.new_ones(lags[-1], *vectors.shape[:-1])
        for lag in reversed(range(lags[-1])):
            first = bisect_right(lags, lag)
            products = self.cell.jvp(split(self.cell, vectors[first:]), self.by_lag[lag])
            vectors[first:], norms[lag, first:] = normalise(join(products))
        return vectors, norms.double().log().sum(0)


def state_size(cell: RecurrentLayer) -> int:
    """Return the numbers in a whole state: H, or 2H with a memory cell."""
    return cell.hidden_size * (2 if cell.has_memory_cell else 1)


def random_units(shape: tuple[int, ...], like: Tensor, seed: int) -> Tensor:
    """Draw random vectors of norm 1 along the last axis, with the type and device of `like`."""
    return normalise(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(like))[0]


def recursion(layer: LayerTrace) -> Recursion:
    """Linearise the recurrence of a layer, in the time order of the layer."""
    lengths = layer.lengths
    saved = layer.cell.linearise(layer.x, layer.states)
    reversed_saved = {name: reverse_within(values, lengths) for name, values in saved.items()}
    vjp_by_lag = by_step(layer.cell.prepare_vjp(reversed_saved))
    return Recursion(layer.cell, by_step(reversed_saved), vjp_by_lag, lengths)


def take(layer: LayerTrace, rows: Tensor) -> LayerTrace:
    """Return the trace of some examples only."""

    def select(values: Tensor | None) -> Any:
        return None if values is None else values[rows]

    states = layer.states
    initial = State(select(states.initial.h), select(states.initial.c))
    subset = States(select(states.h), initial, select(states.lengths), select(states.c))
    return replace(layer, x=layer.x[rows], states=subset)


def longest(layer: LayerTrace, count: int) -> Tensor:
    """Return the rows of the `count` longest sequences, the earlier first among equals."""
    return layer.lengths.argsort(descending=True, stable=True)[:count]


def normalise(vector: Tensor) -> tuple[Tensor, Tensor]:
    """Scale vectors (…, n) to norm 1, unless they are 0; return them and their norms (…)."""
    norm = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / norm.clamp_min(torch.finfo(vector.dtype).tiny), norm[..., 0]
