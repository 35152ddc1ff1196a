"""The contract of a recurrent layer: one layer, one direction, that can be asked for its states (fast),
its gates, and the exact adjoint of any loss, without autograd through time.

Shapes: batch B, time T, inputs D, units H. Batch first, right-padded. Convention of the whole house:
`update` is the share of the *new* candidate that is written, `keep` the share of the old state that stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.cells.scaled import add_scaled
from gatescope.data.base import valid_mask

BLOCK = 16
"""Steps that `adjoint` linearises at once."""
ROWS = 1024
"""Positions whose gates are computed at once."""


class State(NamedTuple):
    """h (…, H), and c (…, H) for cells whose memory travels apart from their output."""

    h: Tensor
    c: Tensor | None = None


@dataclass
class States:
    """A forward pass through one layer and direction.

    `h` (B, T, H), exactly 0 at padding. `initial`: the state before t = 0. `lengths` (B,) or None when every
    sequence has T steps. `c` (B, T, H) where the fast path yields it, else `RecurrentLayer.memory` has it.
    """

    h: Tensor
    initial: State
    lengths: Tensor | None = None
    c: Tensor | None = None
    kept: dict[str, tuple[Tensor, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, name: str, compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `compute` gives, (B, T, …) each, kept for this pass's next reader: gates and adjoint share the
        matrix products. Nothing is kept under autograd, where each caller needs a graph of its own."""
        if torch.is_grad_enabled():
            return compute()
        if name not in self.kept:
            self.kept[name] = compute()
        return self.kept[name]

    def block(self, start: int, stop: int, memory: Tensor | None) -> States:
        """Steps start … stop - 1 as a pass of their own; `memory` (B, T, H) for cells that have one."""
        initial = self.initial
        if start:
            initial = State(self.h[:, start - 1], None if memory is None else memory[:, start - 1])
        lengths = None if self.lengths is None else (self.lengths - start).clamp(0, stop - start)
        c = None if memory is None else memory[:, start:stop]
        block = States(self.h[:, start:stop], initial, lengths, c)
        block.kept = {name: tuple(v[:, start:stop] for v in values) for name, values in self.kept.items()}
        return block

    @property
    def mask(self) -> Tensor | None:
        """(B, T) bool, or None when nothing is padded."""
        return None if self.lengths is None else valid_mask(self.lengths, self.h.shape[1])

    @property
    def previous_h(self) -> Tensor:
        """(B, T, H): h_{t-1}, the initial state first."""
        return shift(self.h, self.initial.h)


class StepVjp(NamedTuple):
    """`delta` (…, chunks·H): gradient at the pre-activations that the input weights feed; `recurrent_delta`
    likewise for the recurrent weights; `previous`: ∂L/∂state_{t-1} through this step; `total`: ∂L/∂state_t in
    full (an LSTM's c_t is also reached through h_t)."""

    delta: Tensor
    recurrent_delta: Tensor
    previous: State
    total: State


@dataclass(frozen=True)
class Adjoint:
    """Exact derivatives of a loss L with respect to one layer's states.

    `h` (B, T, H) is ∂L/∂h_t in full, `c` likewise for a cell with memory. `inputs` (B, T, D) is ∂L/∂x_t.
    `deltas` (B, T, chunks·H): the gradient at the pre-activations that the input weights feed, in the order
    of `chunk_names`; `recurrent_deltas`: likewise for the recurrent weights (width 0 for a cell without).
    All are exactly 0 at padding, and each is to be multiplied by exp(`log_scale`) (B, T) float64, which is 0
    unless renormalisation was asked for. All but `h` and `c` are put together when first asked for.
    """

    steps: list[StepVjp]
    log_scale: Tensor
    input_weights: Tensor

    @cached_property
    def h(self) -> Tensor:
        return torch.stack([step.total.h for step in self.steps], dim=1)

    @cached_property
    def c(self) -> Tensor | None:
        memory = [step.total.c for step in self.steps if step.total.c is not None]
        return torch.stack(memory, dim=1) if memory else None

    @cached_property
    def deltas(self) -> Tensor:
        return torch.stack([step.delta for step in self.steps], dim=1)

    @cached_property
    def recurrent_deltas(self) -> Tensor:
        if self.steps[0].recurrent_delta is self.steps[0].delta:
            return self.deltas
        return torch.stack([step.recurrent_delta for step in self.steps], dim=1)

    @cached_property
    def inputs(self) -> Tensor:
        return self.deltas @ self.input_weights


def shift(states: Tensor, initial: Tensor) -> Tensor:
    """(B, T, H), (B, H) -> (B, T, H): each position holds the state before it."""
    return torch.cat([initial[:, None], states[:, :-1]], dim=1)


class RecurrentLayer(nn.Module, ABC):
    """One recurrent layer, one direction. A subclass gives the equations; the reverse walk is here."""

    gate_names: ClassVar[tuple[str, ...]] = ()
    """The sigmoid gates, as the literature names them, in the order that plots show them."""
    chunk_names: ClassVar[tuple[str, ...]] = ("candidate",)
    """What each block of H rows of the input weights feeds, in order."""
    has_memory_cell: ClassVar[bool] = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size

    def zero_state(self, x: Tensor) -> State:
        zero = x.new_zeros(x.shape[0], self.hidden_size)
        return State(zero, zero if self.has_memory_cell else None)

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """(B, T, D) -> States: the fast path."""

    @abstractmethod
    def step(self, x_t: Tensor, state: State) -> State:
        """(B, D), state -> the next state: the equation as the paper writes it, the tests' reference."""

    @abstractmethod
    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Each of `gate_names`, and "keep" and "candidate" where the cell has them: (B, T, H) each."""

    @abstractmethod
    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """All that `vjp` and `jvp` need of every step, (B, T, H) each."""

    @abstractmethod
    def vjp(self, adjoint: State, saved: dict[str, Tensor]) -> StepVjp:
        """One step backwards, for any leading shape (…, H): at one t, or batched over all t.

        `adjoint` is what reaches state_t from later steps and from outside, `saved` the slice of `linearise`.
        """

    @abstractmethod
    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """One step forwards: tangent of state_{t-1} to that of state_t, inputs held; any leading shape."""

    @property
    @abstractmethod
    def input_weights(self) -> Tensor:
        """(chunks·H, D)"""

    @property
    @abstractmethod
    def recurrent_weights(self) -> Tensor | None:
        """(chunks·H, H), or None where no state enters a gate (minGRU, minLSTM)."""

    def memory(self, x: Tensor, states: States) -> Tensor | None:
        """(B, T, H) memory cell c_t, recomputed where the fast path hides it; None for cells without one."""
        return states.c

    def final(self, x: Tensor, states: States) -> State:
        """The state at each sequence's own last step, (B, H) each."""
        index = last_index(states)
        c = self.memory(x, states)
        return State(gather_time(states.h, index), None if c is None else gather_time(c, index))

    @torch.no_grad()
    def adjoint(
        self,
        x: Tensor,
        states: States,
        direct: Tensor,
        direct_c: Tensor | None = None,
        renormalise: bool = False,
        direct_log_scale: Tensor | None = None,
    ) -> Adjoint:
        """Exact ∂L/∂h_t (and ∂L/∂c_t) for t = T-1 … 0; INSTRUMENTS.md §2.

        Args:
            direct: (B, T, H), the gradient that reaches each output h_t from outside this layer; what it
                holds at padding is ignored.
            direct_c: (B, T, H), likewise for c_t.
            renormalise: keep each step's state adjoint at a magnitude near 1 and carry its logarithm in
                `log_scale`, so that long lags neither underflow nor overflow.
            direct_log_scale: (B, T), with `renormalise`: both direct gradients are times its exponential.
        """
        if self.has_memory_cell:
            direct = _join(State(direct, torch.zeros_like(direct) if direct_c is None else direct_c))
        mask = states.mask
        # A wrong number at padding, even NaN, would run down the whole sequence.
        outside = direct if mask is None else direct.masked_fill(~mask[..., None], 0)
        outside_log = direct.new_zeros(direct.shape[:2], dtype=torch.float64)
        if direct_log_scale is not None:
            outside_log = direct_log_scale.to(torch.float64)
        carry = torch.zeros_like(outside[:, 0])
        log = outside_log[:, 0].new_zeros(len(carry))
        steps: list[StepVjp] = []
        logs: list[Tensor] = []
        for t, saved in self._saved_backwards(x, states):
            if renormalise:
                arriving, log = add_scaled(carry, log, outside[:, t], outside_log[:, t])
            else:
                arriving = carry + outside[:, t]
            step = self.vjp(self._split(arriving), saved)
            carry = _join(step.previous)
            steps.append(step)
            logs.append(log)
        # Training may move the weights before anyone asks for ∂L/∂x.
        return Adjoint(steps[::-1], torch.stack(logs[::-1], dim=1), self.input_weights.detach().clone())

    def _saved_backwards(self, x: Tensor, states: States) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """t and its slice of `linearise`, from the last step to the first, linearised by blocks that fit a
        processor's cache."""
        memory = self.memory(x, states)
        for stop in range(x.shape[1], 0, -BLOCK):
            start = max(stop - BLOCK, 0)
            saved = self.linearise(x[:, start:stop], states.block(start, stop, memory))
            slices = {name: values.unbind(1) for name, values in saved.items()}
            for t in reversed(range(start, stop)):
                yield t, {name: values[t - start] for name, values in slices.items()}

    def _split(self, flat: Tensor) -> State:
        return State(*flat.chunk(2, dim=-1)) if self.has_memory_cell else State(flat)


def _join(state: State) -> Tensor:
    """h and c side by side, (B, H) or (B, 2H): one tensor to add and to scale."""
    return state.h if state.c is None else torch.cat([state.h, state.c], dim=-1)


def in_blocks(compute: Callable[..., tuple[Tensor, ...]], *arguments: Tensor) -> tuple[Tensor, ...]:
    """`compute` of (B, T, …) arguments, a few sequences at a time on a CPU: what lies between inputs and
    results then stays in the cache, which saves a third of the time."""
    first = arguments[0]
    rows = max(1, ROWS // first.shape[1])
    if first.device.type != "cpu" or rows >= first.shape[0]:
        return compute(*arguments)
    parts = [compute(*block) for block in zip(*(a.split(rows) for a in arguments), strict=True)]
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))


def gather_time(values: Tensor, index: Tensor) -> Tensor:
    """(B, T, H), (B,) -> (B, H): each sequence's row at its own index."""
    return values[torch.arange(len(index), device=values.device), index]


def last_index(states: States) -> Tensor:
    """(B,): the last valid position of each sequence."""
    batch, steps, _ = states.h.shape
    if states.lengths is None:
        return torch.full((batch,), steps - 1, device=states.h.device)
    return states.lengths - 1


def reverse_within(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, …): each sequence reversed within its own length, padding left in place; its own inverse."""
    if lengths is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    index = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return x.gather(1, index[..., None].expand_as(x))
