"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    i_t, f_t, o_t = σ(W x_t + b_ih + U h_{t-1} + b_hh)      input, forget and output gate, each its own rows
    g_t = tanh(W_g x_t + b_ig + U_g h_{t-1} + b_hg)         candidate
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t                         memory cell
    h_t = o_t ⊙ tanh(c_t)

Rows of the weights are in torch's order: i, f, g, o. The forget gate is also published as `keep`, the name
under which instruments record it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import StepVjp
from gatescope.cells.fused import FusedLayer
from gatescope.cells.initialisation import Initialisation, LongestDependency, chrono_bias, initialise
from gatescope.cells.kernels.layer import Kernel, unpack_gates
from gatescope.cells.kernels.recurrence import ForwardCache
from gatescope.cells.kernels.weights import NativeWeights
from gatescope.cells.layer import AnalyticLayer
from gatescope.cells.scan import linear_recurrence
from gatescope.cells.state import State, States
from gatescope.cells.tensors import in_chunks, shift, zero_padding


class MemoryUnit(AnalyticLayer):
    """The derivatives of an LSTM step, with and without peepholes.

    `linearise` returns the local derivatives by name: `keep` is ∂c_t/∂c_{t-1}, `to_memory` is ∂h_t/∂c_t,
    and `to_<chunk>` is the derivative with respect to the pre-activations of that chunk: of h_t for the
    output gate, of c_t for the others.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("input", "forget", "output")
    chunk_names: ClassVar[tuple[str, ...]] = ("input", "forget", "candidate", "output")
    has_memory_cell: ClassVar[bool] = True

    @property
    @abstractmethod
    def recurrent_weights(self) -> Tensor:
        """U (4H, H)."""

    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the vector-Jacobian product of a step."""
        total = self.total(state_grad, saved)
        a, s = total
        assert s is not None
        into_memory = [s * saved["to_input"], s * saved["to_forget"], s * saved["to_candidate"]]
        delta = torch.cat([*into_memory, a * saved["to_output"]], dim=-1)
        previous = State(delta @ self.recurrent_weights, s * saved["keep"])
        return StepVjp(previous, total, delta=delta, recurrent_delta=delta)

    def total(self, state_grad: State, saved: dict[str, Tensor]) -> State:
        """Return ∂L/∂h_t and ∂L/∂c_t in full: c_t also acts through h_t."""
        a, c = state_grad
        s = a * saved["to_memory"] if c is None else torch.addcmul(c, a, saved["to_memory"])
        return State(a, s)

    def prepare_vjp(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the derivatives with those of i, f and g stacked, (B, t, 3, H)."""
        into_memory = [saved["to_input"], saved["to_forget"], saved["to_candidate"]]
        return {
            "to_memory": saved["to_memory"],
            "keep": saved["keep"],
            "to_output": saved["to_output"],
            "into_memory": torch.stack(into_memory, dim=-2),
        }

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return ∂L/∂(h_{t-1}, c_{t-1}), (…, 2H)."""
        size = self.hidden_size
        a, c = state_grad.chunk(2, dim=-1)
        s = torch.addcmul(c, a, prepared["to_memory"])
        delta = state_grad.new_empty(*state_grad.shape[:-1], 4, size)
        torch.mul(s[..., None, :], prepared["into_memory"], out=delta[..., :3, :])
        torch.mul(a, prepared["to_output"], out=delta[..., 3, :])
        previous = torch.empty_like(state_grad)
        torch.matmul(delta.flatten(-2), self.recurrent_weights, out=previous[..., :size])
        torch.mul(s, prepared["keep"], out=previous[..., size:])
        return previous

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """Return the Jacobian-vector product of a step."""
        assert tangent.c is not None
        i, f, g, o = (tangent.h @ self.recurrent_weights.T).chunk(4, dim=-1)
        gated = saved["to_input"] * i + saved["to_forget"] * f + saved["to_candidate"] * g
        c = saved["keep"] * tangent.c + gated
        return State(saved["to_memory"] * c + saved["to_output"] * o, c)


class LSTM(FusedLayer, MemoryUnit):
    """One layer and direction of `torch.nn.LSTM`.

    Args:
        input_size: D.
        hidden_size: H.
        initialisation: start of the weights; see `Initialisation`.
        forget_bias: start of the forget gate's bias, the sum of torch's two. None: torch's start.
        chrono: longest dependency T_max in steps. b_f = ln U[1, T_max - 1] and b_i = -b_f, so that memories
            last up to T_max steps from the first training step on (Tallec & Ollivier 2018, eq. 16).
        kernel: what the layer runs on; see `Kernel`.

    Raises:
        ValueError: `forget_bias` and `chrono` are both given.
    """

    kind = "lstm"

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
            raise ValueError("forget_bias and chrono both set the forget gate's bias: set one to null")
        if forget_bias is not None:
            self.start_bias("forget", torch.full((hidden_size,), float(forget_bias)))
        if chrono is not None:
            forget = chrono_bias(self, chrono)
            self.start_bias("forget", forget)
            self.start_bias("input", -forget)

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        assert state.c is not None
        i, f, g, o = self._equations(x_t, state.h)
        c = f * state.c + i * g
        return State(o * torch.tanh(c), c)

    def _equations(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return i, f, g and o for any leading shape."""
        p, q = self.preactivations(x, previous)
        i, f, g, o = (p + q).chunk(4, dim=-1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def _all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        """Return `_equations` at every step, (B, T, H) each."""
        return states.cache.memoize("equations", lambda: in_chunks(self._equations, x, states.previous_h))

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step, (B, T, H) each."""
        i, f, g, o = self._all_steps(x, states)
        return {"input": i, "forget": f, "output": o, "keep": f, "candidate": g}

    def memory(self, x: Tensor, states: States) -> Tensor:
        """Return the memory cells (B, T, H), recomputed where torch's kernel returned only the last one."""
        if states.c is not None:
            return states.c
        return states.cache.memoize("memory", lambda: (self._scan_memory(x, states),))[0]

    def _scan_memory(self, x: Tensor, states: States) -> Tensor:
        i, f, g, _ = self._all_steps(x, states)
        assert states.initial.c is not None
        return zero_padding(linear_recurrence(f, i * g, states.initial.c), states.lengths)

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the local derivatives of every step, (B, T, H) each."""
        i, f, g, o = self._all_steps(x, states)
        c = self.memory(x, states)
        assert states.initial.c is not None
        squashed = torch.tanh(c)
        return {
            "keep": f,
            "to_memory": o * (1 - squashed * squashed),
            "to_input": g * i * (1 - i),
            "to_forget": shift(c, states.initial.c) * f * (1 - f),
            "to_candidate": i * (1 - g * g),
            "to_output": squashed * o * (1 - o),
        }

    @property
    def native_weights(self) -> NativeWeights:
        """The parameters in the form that the native kernel reads."""
        w, u, b_ih, b_hh = self.weights
        return NativeWeights(self.kind, w, b_ih, u, b_hh)

    def _equations_from(self, buffers: ForwardCache) -> tuple[Tensor, ...]:
        return unpack_gates(buffers)
