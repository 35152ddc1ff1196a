"""The contract of a recurrent layer: one layer, one direction, that can be asked for its states (fast),
its gates, and the exact adjoint of any loss, without autograd through time.

Shapes: batch B, time T, inputs D, units H. Batch first, right-padded. Convention of the whole house:
`update` is the share of the *new* candidate that is written, `keep` the share of the old state that stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.cells.scaled import add_scaled
from gatescope.data.base import valid_mask


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


@dataclass
class Adjoint:
    """Exact derivatives of a loss L with respect to one layer's states.

    `h` (B, T, H) is ∂L/∂h_t in full, `c` likewise for a cell with memory. `inputs` (B, T, D) is ∂L/∂x_t.
    `deltas` (B, T, chunks·H): the gradient at the pre-activations that the input weights feed, in the order
    of `chunk_names`; `recurrent_deltas`: likewise for the recurrent weights (width 0 for a cell without).
    All are exactly 0 at padding, and each is to be multiplied by exp(`log_scale`) (B, T) float64, which is 0
    unless renormalisation was asked for.
    """

    h: Tensor
    c: Tensor | None
    inputs: Tensor
    deltas: Tensor
    recurrent_deltas: Tensor
    log_scale: Tensor


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
        saved = {name: values.unbind(1) for name, values in self.linearise(x, states).items()}
        carry = torch.zeros_like(outside[:, 0])
        log = outside_log[:, 0].new_zeros(len(carry))
        steps: list[StepVjp] = []
        logs: list[Tensor] = []
        for t in reversed(range(direct.shape[1])):
            if renormalise:
                arriving, log = add_scaled(carry, log, outside[:, t], outside_log[:, t])
            else:
                arriving = carry + outside[:, t]
            step = self.vjp(self._split(arriving), {name: values[t] for name, values in saved.items()})
            carry = _join(step.previous)
            steps.append(step)
            logs.append(log)
        return self._collect(steps[::-1], torch.stack(logs[::-1], dim=1))

    def _split(self, flat: Tensor) -> State:
        return State(*flat.chunk(2, dim=-1)) if self.has_memory_cell else State(flat)

    def _collect(self, steps: list[StepVjp], log_scale: Tensor) -> Adjoint:
        deltas = torch.stack([step.delta for step in steps], dim=1)
        shared = all(step.recurrent_delta is step.delta for step in steps)
        return Adjoint(
            h=torch.stack([step.total.h for step in steps], dim=1),
            c=torch.stack([_memory(step.total) for step in steps], dim=1) if self.has_memory_cell else None,
            inputs=deltas @ self.input_weights,
            deltas=deltas,
            recurrent_deltas=deltas if shared else torch.stack([s.recurrent_delta for s in steps], dim=1),
            log_scale=log_scale,
        )


def _memory(state: State) -> Tensor:
    assert state.c is not None, "a cell with a memory cell gave a state without one"
    return state.c


def _join(state: State) -> Tensor:
    """h and c side by side, (B, H) or (B, 2H): one tensor to add and to scale."""
    return state.h if state.c is None else torch.cat([state.h, state.c], dim=-1)


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
