"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    i_t, f_t, o_t = σ(W x_t + b_ih + U h_{t-1} + b_hh)      input, forget and output gate, each its own rows
    g_t = tanh(W_g x_t + b_ig + U_g h_{t-1} + b_hg)         candidate
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t                         the memory
    h_t = o_t ⊙ tanh(c_t)

Rows of the weights in torch's order: i, f, g, o. `keep` is the forget gate, under which
name instruments record it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from gatescope.cells.base import RecurrentLayer, State, States, StepVjp, in_blocks, shift
from gatescope.cells.fused import FusedLayer, zero_padding
from gatescope.cells.initialisation import Initialisation, LongestDependency, chrono_bias, initialise
from gatescope.cells.kernels.layer import Kernel, chunks
from gatescope.cells.kernels.walk import Walked
from gatescope.cells.kernels.weights import NativeWeights
from gatescope.cells.scan import scan_sequential


class MemoryUnit(RecurrentLayer):
    """One step's derivatives, the same with and without peepholes: `linearise` holds what differs."""

    gate_names: ClassVar[tuple[str, ...]] = ("input", "forget", "output")
    chunk_names: ClassVar[tuple[str, ...]] = ("input", "forget", "candidate", "output")
    has_memory_cell: ClassVar[bool] = True

    @property
    @abstractmethod
    def recurrent_weights(self) -> Tensor: ...

    def vjp(self, adjoint: State, saved: dict[str, Tensor]) -> StepVjp:
        total = self.total(adjoint, saved)
        a, s = total
        assert s is not None
        into_memory = [s * saved["to_input"], s * saved["to_forget"], s * saved["to_candidate"]]
        delta = torch.cat([*into_memory, a * saved["to_output"]], dim=-1)
        previous = State(delta @ self.recurrent_weights, s * saved["carried"])
        return StepVjp(delta, delta, previous, total)

    def total(self, adjoint: State, saved: dict[str, Tensor]) -> State:
        a, c = adjoint
        s = a * saved["to_memory"] if c is None else torch.addcmul(c, a, saved["to_memory"])
        return State(a, s)

    def for_pull_back(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        into_memory = [saved["to_input"], saved["to_forget"], saved["to_candidate"]]
        return {
            "to_memory": saved["to_memory"],
            "carried": saved["carried"],
            "to_output": saved["to_output"],
            "into_memory": torch.stack(into_memory, dim=-2),
        }

    def pull_back(self, adjoint: Tensor, saved: dict[str, Tensor]) -> Tensor:
        size = self.hidden_size
        a, c = adjoint.chunk(2, dim=-1)
        s = torch.addcmul(c, a, saved["to_memory"])
        delta = adjoint.new_empty(*adjoint.shape[:-1], 4, size)
        torch.mul(s[..., None, :], saved["into_memory"], out=delta[..., :3, :])
        torch.mul(a, saved["to_output"], out=delta[..., 3, :])
        previous = torch.empty_like(adjoint)
        torch.matmul(delta.flatten(-2), self.recurrent_weights, out=previous[..., :size])
        torch.mul(s, saved["carried"], out=previous[..., size:])
        return previous

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        assert tangent.c is not None
        i, f, g, o = (tangent.h @ self.recurrent_weights.T).chunk(4, dim=-1)
        gated = saved["to_input"] * i + saved["to_forget"] * f + saved["to_candidate"] * g
        c = saved["carried"] * tangent.c + gated
        return State(saved["to_memory"] * c + saved["to_output"] * o, c)


class LSTM(FusedLayer, MemoryUnit):
    """torch.nn.LSTM, one layer and direction.

    Args:
        forget_bias: start of the forget gate's bias (the sum of torch's two); None leaves torch's start.
        chrono: longest dependency T_max in steps: b_f = ln U[1, T_max - 1], b_i = -b_f (Tallec & Ollivier
            2018, eq. 16), so that memories last for up to T_max steps from the first step of training on.
    Raises:
        ValueError: both are given.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        initialisation: Initialisation = "default",
        forget_bias: float | None = None,
        chrono: LongestDependency | None = None,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel)
        self.fused = nn.LSTM(input_size, hidden_size, batch_first=True)
        initialise(self, initialisation)
        if forget_bias is not None and chrono is not None:
            raise ValueError("forget_bias and chrono both set the forget gate's bias: leave one of them null")
        if forget_bias is not None:
            self.start_bias("forget", torch.full((hidden_size,), float(forget_bias)))
        if chrono is not None:
            forget = chrono_bias(self, chrono)
            self.start_bias("forget", forget)
            self.start_bias("input", -forget)

    @property
    def native_weights(self) -> NativeWeights:
        w, u, b_ih, b_hh = self.weights
        return NativeWeights("lstm", w, b_ih, u, b_hh)

    def _equations_of(self, walked: Walked) -> tuple[Tensor, ...]:
        return chunks(walked)

    def _equations(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """i, f, g, o for any leading shape."""
        p, q = self.preactivations(x, previous)
        i, f, g, o = (p + q).chunk(4, dim=-1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def step(self, x_t: Tensor, state: State) -> State:
        assert state.c is not None
        i, f, g, o = self._equations(x_t, state.h)
        c = f * state.c + i * g
        return State(o * torch.tanh(c), c)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        i, f, g, o = self._all_steps(x, states)
        return {"input": i, "forget": f, "output": o, "keep": f, "candidate": g}

    def _all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        return states.once("equations", lambda: in_blocks(self._equations, x, states.previous_h))

    def memory(self, x: Tensor, states: States) -> Tensor:
        if states.c is not None:
            return states.c
        return states.once("memory", lambda: (self._scan_memory(x, states),))[0]

    def _scan_memory(self, x: Tensor, states: States) -> Tensor:
        i, f, g, _ = self._all_steps(x, states)
        assert states.initial.c is not None
        return zero_padding(scan_sequential(f, i * g, states.initial.c), states.lengths)

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        i, f, g, o = self._all_steps(x, states)
        c = self.memory(x, states)
        assert states.initial.c is not None
        squashed = torch.tanh(c)
        return {
            "carried": f,
            "to_memory": o * (1 - squashed * squashed),
            "to_input": g * i * (1 - i),
            "to_forget": shift(c, states.initial.c) * f * (1 - f),
            "to_candidate": i * (1 - g * g),
            "to_output": squashed * o * (1 - o),
        }
