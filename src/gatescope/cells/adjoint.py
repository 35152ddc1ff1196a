"""Exact derivatives of a loss with respect to the states of one layer, without autograd through time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gatescope.cells.state import Block, HasMemoryCell, State, States, split


class StepVjp(NamedTuple):
    """The vector-Jacobian product of one step.

    Attributes:
        previous: ∂L/∂state_{t-1} through this step.
        total: ∂L/∂state_t in full. An LSTM's c_t also receives what reaches it through h_t.
        inputs: ∂L/∂x_t (…, D); None where it follows from `delta` and the input weights.
        delta: gradient at the pre-activations that the input weights produce (…, chunks·H), or None.
        recurrent_delta: likewise for the recurrent weights; width 0 for a layer without any, or None.
    """

    previous: State
    total: State
    inputs: Tensor | None = None
    delta: Tensor | None = None
    recurrent_delta: Tensor | None = None


class StepDerivatives(HasMemoryCell, Protocol):
    """The methods of `RecurrentLayer` that the recursion calls."""

    hidden_size: int

    @property
    def is_diagonal(self) -> bool:
        """Whether ∂state_t/∂state_{t-1} is the diagonal `keep` of `prepare_vjp`."""

    @property
    def has_analytic_vjp(self) -> bool:
        """Whether `state_vjp` is written by hand, in operations that read no value on the CPU."""

    def parameters(self) -> Iterator[Tensor]:
        """Return the weights."""

    def memory(self, x: Tensor, states: States) -> Tensor | None:
        """Return the memory cells (B, T, H)."""

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return what `vjp` needs of every step."""

    def prepare_vjp(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what `state_vjp` needs of every step."""

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return ∂L/∂state_{t-1}."""

    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the full vector-Jacobian product of a step."""

    def total(self, state_grad: State, saved: dict[str, Tensor]) -> State:
        """Return ∂L/∂state_t in full."""


class Adjoint(ABC):
    """Exact derivatives of a loss L with respect to the states of one layer.

    All tensors are exactly 0 at padding, and all but `log_scale` are to be multiplied by exp(`log_scale`).

    Attributes:
        h: ∂L/∂h_t in full (B, T, H).
        c: ∂L/∂c_t in full (B, T, H) for a layer with a memory cell, else None.
        log_scale: (B, T), float64; 0 without renormalisation.
        inputs: ∂L/∂x_t (B, T, D).
    """

    h: Tensor
    c: Tensor | None
    log_scale: Tensor
    inputs: Tensor

    @abstractmethod
    def first(self, count: int) -> Adjoint:
        """Return the adjoint of the first `count` sequences."""


class PreactivationAdjoint(Adjoint):
    """The adjoint of a layer whose input enters through one matrix product, W x_t.

    Attributes:
        input_weights: W (chunks·H, D) as it was in the forward pass.
    """

    input_weights: Tensor

    @property
    @abstractmethod
    def deltas(self) -> Tensor:
        """Gradient at the pre-activations (B, T, chunks·H), in the order of `chunk_names`."""

    @property
    @abstractmethod
    def recurrent_deltas(self) -> Tensor:
        """Gradient at the results of the recurrent weights, likewise; width 0 for a layer without any."""

    @cached_property
    def inputs(self) -> Tensor:  # type: ignore[override]
        """∂L/∂x_t (B, T, D)."""
        return self.deltas @ self.input_weights


@dataclass(frozen=True, eq=False)
class DenseAdjoint(Adjoint):
    """An adjoint that is computed in full."""

    h: Tensor
    c: Tensor | None
    log_scale: Tensor
    inputs: Tensor

    def first(self, count: int) -> DenseAdjoint:
        """Return the adjoint of the first `count` sequences."""
        c = None if self.c is None else self.c[:count]
        return DenseAdjoint(self.h[:count], c, self.log_scale[:count], self.inputs[:count])


@dataclass(frozen=True, eq=False)
class LazyAdjoint(PreactivationAdjoint):
    """An adjoint whose parts are computed when they are first read.

    Attributes:
        state_grad: what reaches each state from later steps and from outside, (T, B, H) or (T, B, 2H).
        log_scale: (B, T), float64.
        input_weights: (chunks·H, D).
        layer: the layer that ran the pass.
        blocks: its linearised steps.
    """

    state_grad: Tensor
    log_scale: Tensor
    input_weights: Tensor
    layer: StepDerivatives
    blocks: list[Block]

    def first(self, count: int) -> LazyAdjoint:
        """Return the adjoint of the first `count` sequences."""
        blocks = [
            Block(block.start, {name: values[:count] for name, values in block.saved.items()}, block.steps)
            for block in self.blocks
        ]
        return replace(
            self, state_grad=self.state_grad[:, :count], log_scale=self.log_scale[:count], blocks=blocks
        )

    @cached_property
    def _totals(self) -> list[State]:
        grads = block_grads(self.layer, self.state_grad, self.blocks)
        return [self.layer.total(grad, block.saved) for grad, block in zip(grads, self.blocks, strict=True)]

    @cached_property
    @torch.no_grad()
    def _vjps(self) -> list[StepVjp]:
        grads = block_grads(self.layer, self.state_grad, self.blocks)
        return [self.layer.vjp(grad, block.saved) for grad, block in zip(grads, self.blocks, strict=True)]

    @cached_property
    def h(self) -> Tensor:  # type: ignore[override]
        """∂L/∂h_t in full (B, T, H)."""
        return torch.cat([total.h for total in self._totals], dim=1)

    @cached_property
    def c(self) -> Tensor | None:  # type: ignore[override]
        """∂L/∂c_t in full (B, T, H) for a layer with a memory cell, else None."""
        return concatenate([total.c for total in self._totals])

    @cached_property
    def deltas(self) -> Tensor:
        """Gradient at the pre-activations (B, T, chunks·H)."""
        deltas = concatenate([step.delta for step in self._vjps])
        assert deltas is not None
        return deltas

    @cached_property
    def recurrent_deltas(self) -> Tensor:
        """Gradient at the results of the recurrent weights (B, T, chunks·H)."""
        if self._vjps[0].recurrent_delta is self._vjps[0].delta:
            return self.deltas
        deltas = concatenate([step.recurrent_delta for step in self._vjps])
        assert deltas is not None
        return deltas


def concatenate(blocks: list[Tensor | None]) -> Tensor | None:
    """Concatenate the tensors (B, t, …) of consecutive blocks; None where there are none."""
    present = [values for values in blocks if values is not None]
    return torch.cat(present, dim=1) if present else None


def block_grads(layer: StepDerivatives, state_grad: Tensor, blocks: list[Block]) -> list[State]:
    """Return the part of `state_grad` (T, B, H or 2H) that belongs to each block, (B, t, H) each."""
    return [
        split(layer, state_grad[block.start : block.start + len(block.steps)].transpose(0, 1))
        for block in blocks
    ]
