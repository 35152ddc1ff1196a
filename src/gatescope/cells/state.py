"""The state of a recurrent layer and the result of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gatescope.cells.tensors import shift
from gatescope.sequences import valid_mask


class State(NamedTuple):
    """Hidden state `h` (…, H), and the memory cell `c` (…, H) of layers that have one."""

    h: Tensor
    c: Tensor | None = None


class Block(NamedTuple):
    """A few consecutive steps of a linearised pass.

    Attributes:
        start: index of the first step.
        saved: output of `RecurrentLayer.linearise` for these steps, each (B, t, …).
        steps: output of `RecurrentLayer.prepare_vjp`, one dict per step, each tensor (B, …).
    """

    start: int
    saved: dict[str, Tensor]
    steps: list[dict[str, Tensor]]


@dataclass
class PassCache:
    """Intermediate results of one forward pass, owned by the layer that ran it.

    `RecurrentLayer.gates`, `linearise` and `adjoint` share them, so that a matrix product is computed once.
    Only the layer reads or writes the cache. A subclass may hold more, such as buffers of a native kernel.

    Attributes:
        tensors: results of `memoize` by name, each (B, T, …).
        blocks: the linearised steps, filled by the first call of `adjoint`.
    """

    tensors: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def memoize(self, name: str, compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return the stored result of `compute`, which is called once.

        With gradients enabled nothing is stored, because every caller needs its own graph.
        """
        if torch.is_grad_enabled():
            return compute()
        if name not in self.tensors:
            self.tensors[name] = compute()
        return self.tensors[name]

    def slice_time(self, start: int, stop: int) -> PassCache:
        """Return a cache that holds the tensors of steps `start` … `stop` - 1."""
        tensors = self.tensors.items()
        return PassCache({name: tuple(v[:, start:stop] for v in values) for name, values in tensors})


@dataclass
class States:
    """The result of a forward pass through one layer in one direction.

    Attributes:
        h: hidden states (B, T, H), exactly 0 at padding.
        initial: the state before the first step, (B, H) each.
        lengths: (B,), or None where every sequence has T steps.
        c: memory cells (B, T, H) where the forward pass returns them; `RecurrentLayer.memory` always does.
        last: h at the last valid step of each sequence, (B, H), where the forward pass returns it. A loss
            that reads only `last` avoids a gradient (B, T, H) that is 0 at every other step.
        cache: intermediate results, for the layer that ran the pass.
    """

    h: Tensor
    initial: State
    lengths: Tensor | None = None
    c: Tensor | None = None
    last: Tensor | None = None
    cache: PassCache = field(default_factory=PassCache, repr=False, compare=False)

    def slice_time(self, start: int, stop: int, memory: Tensor | None) -> States:
        """Return steps `start` … `stop` - 1 as a pass of their own.

        Args:
            start: first step.
            stop: step after the last one.
            memory: memory cells of the whole pass (B, T, H); None for layers without one.
        """
        initial = self.initial
        if start:
            initial = State(self.h[:, start - 1], None if memory is None else memory[:, start - 1])
        lengths = None if self.lengths is None else (self.lengths - start).clamp(0, stop - start)
        c = None if memory is None else memory[:, start:stop]
        cache = self.cache.slice_time(start, stop)
        return States(self.h[:, start:stop], initial, lengths, c, cache=cache)

    @property
    def mask(self) -> Tensor | None:
        """Validity of each position (B, T), bool; None where nothing is padded."""
        return None if self.lengths is None else valid_mask(self.lengths, self.h.shape[1])

    @property
    def previous_h(self) -> Tensor:
        """Hidden state before each step (B, T, H)."""
        return shift(self.h, self.initial.h)

    @property
    def previous_c(self) -> Tensor | None:
        """Memory cell before each step (B, T, H); None where `c` is None."""
        if self.c is None or self.initial.c is None:
            return None
        return shift(self.c, self.initial.c)


class HasMemoryCell(Protocol):
    """A layer that says whether its state has a memory cell."""

    @property
    def has_memory_cell(self) -> bool:
        """Whether the state has a memory cell c."""


def split(layer: HasMemoryCell, flat: Tensor) -> State:
    """Return (…, H), or (…, 2H) for a layer with a memory cell, as a State; the inverse of `join`."""
    return State(*flat.chunk(2, dim=-1)) if layer.has_memory_cell else State(flat)


def join(state: State) -> Tensor:
    """Concatenate h and c: (…, H), or (…, 2H) for a layer with a memory cell."""
    return state.h if state.c is None else torch.cat([state.h, state.c], dim=-1)


def last_index(states: States) -> Tensor:
    """Return the index of the last valid step of each sequence, (B,)."""
    batch, steps, _ = states.h.shape
    if states.lengths is None:
        return torch.full((batch,), steps - 1, device=states.h.device)
    return states.lengths - 1
