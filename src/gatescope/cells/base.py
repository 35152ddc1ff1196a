"""The contract of a recurrent layer: one layer, one direction, that can be asked for its states (fast),
its gates, and the exact adjoint of any loss, without autograd through time.

Shapes: batch B, time T, inputs D, units H. Batch first, right-padded. Convention of the whole house:
`update` is the share of the *new* candidate that is written, `keep` the share of the old state that stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.cells.scaled import add_scaled, rescaled
from gatescope.sequences import valid_mask

if TYPE_CHECKING:
    from gatescope.cells.kernels.walk import Walked, Watch

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
    `last` (B, H), where the fast path yields it: h at each sequence's last step. Whoever reads only that
    spares the way back a gradient (B, T, H) that is 0 at all other steps.
    """

    h: Tensor
    initial: State
    lengths: Tensor | None = None
    c: Tensor | None = None
    last: Tensor | None = None
    kept: dict[str, tuple[Tensor, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    blocks: list[Block] = field(default_factory=list, init=False, repr=False, compare=False)
    """What the first walk back linearised, for the next one."""
    walked: Walked | None = field(default=None, init=False, repr=False, compare=False)
    """What a native walk forward left, for the walk back."""
    watch: Watch | None = field(default=None, init=False, repr=False, compare=False)
    """What a native pass under autograd leaves."""

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


class Block(NamedTuple):
    """A few steps, linearised: `saved` for `vjp`, (B, t, …) each; `steps[k]` for `pull_back` at start + k."""

    start: int
    saved: dict[str, Tensor]
    steps: list[dict[str, Tensor]]


class Adjoint(ABC):
    """Exact derivatives of a loss L with respect to one layer's states.

    `h` (B, T, H) is ∂L/∂h_t in full, `c` likewise for a cell with memory. `deltas` (B, T, chunks·H): the
    gradient at the pre-activations that the input weights feed, in the order of `chunk_names`;
    `recurrent_deltas`: likewise for the recurrent weights (width 0 for a cell without). All are exactly 0 at
    padding, and each is to be multiplied by exp(`log_scale`) (B, T) float64, which is 0 unless
    renormalisation was asked for.
    """

    h: Tensor
    c: Tensor | None
    deltas: Tensor
    recurrent_deltas: Tensor
    log_scale: Tensor
    input_weights: Tensor

    @abstractmethod
    def first(self, count: int) -> Adjoint:
        """That of the first sequences alone."""

    @cached_property
    def inputs(self) -> Tensor:
        """(B, T, D): ∂L/∂x_t."""
        return self.deltas @ self.input_weights


@dataclass(frozen=True, eq=False)
class BlockAdjoint(Adjoint):
    """Put together when first asked for, from `arriving` (T, B, H or 2H): what reaches state_t from later
    steps and from outside."""

    arriving: Tensor
    log_scale: Tensor
    input_weights: Tensor
    cell: RecurrentLayer
    blocks: list[Block]

    def _state(self, block: Block) -> State:
        return split(self.cell, self.arriving[block.start : block.start + len(block.steps)].transpose(0, 1))

    def first(self, count: int) -> BlockAdjoint:
        blocks = [
            Block(block.start, {name: values[:count] for name, values in block.saved.items()}, block.steps)
            for block in self.blocks
        ]
        return replace(
            self, arriving=self.arriving[:, :count], log_scale=self.log_scale[:count], blocks=blocks
        )

    @cached_property
    def _totals(self) -> list[State]:
        return [self.cell.total(self._state(block), block.saved) for block in self.blocks]

    @cached_property
    @torch.no_grad()
    def _vjps(self) -> list[StepVjp]:
        return [self.cell.vjp(self._state(block), block.saved) for block in self.blocks]

    @cached_property
    def h(self) -> Tensor:  # type: ignore[override]
        return torch.cat([total.h for total in self._totals], dim=1)

    @cached_property
    def c(self) -> Tensor | None:  # type: ignore[override]
        memory = [total.c for total in self._totals if total.c is not None]
        return torch.cat(memory, dim=1) if memory else None

    @cached_property
    def deltas(self) -> Tensor:  # type: ignore[override]
        return torch.cat([found.delta for found in self._vjps], dim=1)

    @cached_property
    def recurrent_deltas(self) -> Tensor:  # type: ignore[override]
        if self._vjps[0].recurrent_delta is self._vjps[0].delta:
            return self.deltas
        return torch.cat([found.recurrent_delta for found in self._vjps], dim=1)


def padded_lengths(lengths: Tensor | None, steps: int) -> Tensor | None:
    """None where nothing is padded. On a GPU the lengths are taken as they are: looking would wait for it. So
    they are in a graph, which must hold for any."""
    if lengths is None or torch.compiler.is_compiling():
        return lengths
    if lengths.numel() == 0 or (lengths.device.type == "cpu" and int(lengths.min()) == steps):
        return None
    return lengths


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

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """As `forward`, for a pass that will be read.

        A subclass may keep in it what its gates and its adjoint will ask for, where that is the faster way.
        """
        return self(x, lengths, state)

    def watch(self, states: States) -> None:
        """Before the backward pass of training: that `passed` will ask what it left."""
        if states.h.requires_grad:
            states.h.retain_grad()

    @torch.no_grad()
    def passed(self, x: Tensor, states: States) -> tuple[States, Adjoint] | None:
        """After a backward pass that was watched, with the weights as they were: its states without their
        graph, to ask for gates, and ∂L/∂state; None where no gradient came through. `x`: without graph."""
        if states.h.grad is None:
            return None
        c = None if states.c is None else states.c.detach()
        left = States(states.h.detach(), states.initial, states.lengths, c)
        return left, self.adjoint(x, left, states.h.grad)

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

    def total(self, adjoint: State, saved: dict[str, Tensor]) -> State:
        """`vjp`'s `total` alone."""
        return adjoint

    def for_pull_back(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `pull_back` needs of `linearise`, as it needs it; (B, t, …) each."""
        return saved

    def pull_back(self, adjoint: Tensor, saved: dict[str, Tensor]) -> Tensor:
        """`vjp`'s `previous` alone, h and c side by side (B, H or 2H): all that a walk needs at every step.

        A subclass writes it in as few operations as its equations allow, or leaves it as it is.
        """
        return join(self.vjp(split(self, adjoint), saved).previous)

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
        direct: Tensor | None,
        *,
        last: State | None = None,
        renormalise: bool = False,
        direct_log_scale: Tensor | None = None,
        inputs: bool = False,
    ) -> Adjoint:
        """Exact ∂L/∂h_t (and ∂L/∂c_t) for t = T-1 … 0; INSTRUMENTS.md §2.

        Args:
            direct: (B, T, H), the gradient that reaches each output h_t from outside this layer; what it
                holds at padding is ignored.
            last: (B, H) each, what reaches each sequence's last state beside that.
            renormalise: keep each step's state adjoint at a magnitude near 1 and carry its logarithm in
                `log_scale`, so that long lags neither underflow nor overflow.
            direct_log_scale: (B, T), with `renormalise`: the direct gradients are times its exponential.
            inputs: say so when ∂L/∂x or the deltas will be asked for; they can be in any case.
        """
        outside = self._outside(states, direct, last)
        direct = outside[0]
        outside_log = direct.new_zeros(direct.shape[:2], dtype=torch.float64)
        if direct_log_scale is not None:
            outside_log = direct_log_scale.to(torch.float64)
        present = torch.stack([(part != 0).any(-1).any(0) for part in outside]).any(0).tolist()
        size = self.hidden_size * (2 if self.has_memory_cell else 1)
        arriving = direct.new_empty(direct.shape[1], len(direct), size)
        carry = torch.zeros_like(arriving[0])
        log = outside_log[:, 0].new_zeros(len(carry))
        logs: list[Tensor] = [log] * len(arriving)
        blocks = self._linearised(x, states)
        for block in reversed(blocks):
            for t, saved in reversed(list(enumerate(block.steps, block.start))):
                if present[t]:
                    entering = torch.zeros_like(carry)
                    for place, part in zip(entering.split(self.hidden_size, -1), outside, strict=False):
                        place.copy_(part[:, t])
                    if renormalise:
                        carry, log = add_scaled(carry, log, entering, outside_log[:, t])
                    else:
                        carry = carry + entering
                elif renormalise:
                    carry, log = rescaled(carry, log)
                arriving[t], logs[t] = carry, log
                carry = self.pull_back(carry, saved)
        # Training may move the weights before anyone asks for ∂L/∂x.
        weights = self.input_weights.detach().clone()
        return BlockAdjoint(arriving, torch.stack(logs, dim=1), weights, self, blocks)

    def _outside(self, states: States, direct: Tensor | None, last: State | None) -> list[Tensor]:
        """All that enters, (B, T, H) of h, and of c where some does."""
        mask = states.mask
        if direct is None:
            direct = torch.zeros_like(states.h)
        # A wrong number at padding, even NaN, would run down the whole sequence.
        outside = [direct if mask is None else direct.masked_fill(~mask[..., None], 0)]
        if last is None:
            return outside
        rows, end = torch.arange(len(direct), device=direct.device), last_index(states)
        for position, part in enumerate(part for part in last if part is not None):
            whole = outside.pop(0).clone() if position == 0 else torch.zeros_like(direct)
            whole[rows, end] += part
            outside.append(whole)
        return outside

    def _linearised(self, x: Tensor, states: States) -> list[Block]:
        """By blocks that fit a processor's cache, kept for the next walk over the same pass."""
        if not states.blocks:
            memory = self.memory(x, states)
            for start in range(0, x.shape[1], BLOCK):
                stop = min(start + BLOCK, x.shape[1])
                saved = self.linearise(x[:, start:stop], states.block(start, stop, memory))
                states.blocks.append(Block(start, saved, by_step(self.for_pull_back(saved))))
        return states.blocks


def by_step(saved: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """(B, T, …) by name -> for each step (B, …) by name."""
    unbound = [values.unbind(1) for values in saved.values()]
    return [dict(zip(saved, step, strict=True)) for step in zip(*unbound, strict=True)]


def split(cell: RecurrentLayer, flat: Tensor) -> State:
    """(…, H), or (…, 2H) for a cell with a memory cell -> State."""
    return State(*flat.chunk(2, dim=-1)) if cell.has_memory_cell else State(flat)


def join(state: State) -> Tensor:
    """h and c side by side, (…, H) or (…, 2H): one tensor to add and to scale."""
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
