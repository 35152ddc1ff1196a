"""LSTM with peephole connections (Gers & Schmidhuber 2000): the gates see the memory cell.

    i_t = σ(W_i x_t + U_i h_{t-1} + p_i ⊙ c_{t-1} + b_i)    input gate
    f_t = σ(W_f x_t + U_f h_{t-1} + p_f ⊙ c_{t-1} + b_f)    forget gate
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)                 candidate
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t                         memory cell
    o_t = σ(W_o x_t + U_o h_{t-1} + p_o ⊙ c_t + b_o)        output gate
    h_t = o_t ⊙ tanh(c_t)

Rows of the weights: i, f, g, o. The nonlinearities are today's (Greff et al. 2017), not those of 2000.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gatescope.cells.initialisation import Initialisation, initialise, uniform_start
from gatescope.cells.kernels.layer import Kernel, NativeLayer, unpack_gates
from gatescope.cells.kernels.recurrence import ForwardCache
from gatescope.cells.kernels.weights import NativeWeights
from gatescope.cells.lstm import MemoryUnit
from gatescope.cells.state import State, States
from gatescope.cells.tensors import shift, zero_padding


class PeepholeLSTM(NativeLayer, MemoryUnit):
    """An LSTM whose gates read the memory cell.

    torch has no module with peepholes: without the native kernel the layer is a Python loop over time, many
    times slower than `lstm`. The peepholes (3, H), for i, f and o, start at 0 unless `initialisation` is
    "default".

    Args:
        input_size: D.
        hidden_size: H.
        initialisation: start of the weights; see `Initialisation`.
        kernel: what the layer runs on; see `Kernel`.
    """

    kind = "peephole"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        initialisation: Initialisation = "default",
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.peepholes = nn.Parameter(torch.empty(3, hidden_size))
        uniform_start(self, fan_in=hidden_size)
        initialise(self, initialisation)
        if initialisation != "default":
            nn.init.zeros_(self.peepholes)

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        assert state.c is not None
        w_i, w_f, w_g, w_o = self.weight_ih.chunk(4)
        u_i, u_f, u_g, u_o = self.weight_hh.chunk(4)
        b_i, b_f, b_g, b_o = self.bias.chunk(4)
        p_i, p_f, p_o = self.peepholes
        h, c = state.h, state.c
        i = torch.sigmoid(x_t @ w_i.T + h @ u_i.T + p_i * c + b_i)
        f = torch.sigmoid(x_t @ w_f.T + h @ u_f.T + p_f * c + b_f)
        new_c = f * c + i * torch.tanh(x_t @ w_g.T + h @ u_g.T + b_g)
        o = torch.sigmoid(x_t @ w_o.T + h @ u_o.T + p_o * new_c + b_o)
        return State(o * torch.tanh(new_c), new_c)

    @property
    def input_weights(self) -> Tensor:
        """W (4H, D)."""
        return self.weight_ih

    @property
    def recurrent_weights(self) -> Tensor:
        """U (4H, H)."""
        return self.weight_hh

    def _equations(
        self, projected: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return i, f, g, o and c_t for any leading shape.

        Args:
            projected: W x_t + b, (…, 4H).
            h: h_{t-1}, (…, H).
            c: c_{t-1}, (…, H).
        """
        i, f, g, o = (projected + linear(h, self.weight_hh)).chunk(4, dim=-1)
        p_i, p_f, p_o = self.peepholes
        i, f = torch.sigmoid(i + p_i * c), torch.sigmoid(f + p_f * c)
        g = torch.tanh(g)
        c = f * c + i * g
        return i, f, g, torch.sigmoid(o + p_o * c), c

    def _torch_forward(self, x: Tensor, lengths: Tensor | None, initial: State) -> States:
        h, c = initial.h, initial.c
        assert c is not None
        hidden, memory = [], []
        for projected in linear(x, self.weight_ih, self.bias).unbind(1):
            *_, o, c = self._equations(projected, h, c)
            h = o * torch.tanh(c)
            hidden.append(h)
            memory.append(c)
        h, c = zero_padding(torch.stack(hidden, 1), lengths), zero_padding(torch.stack(memory, 1), lengths)
        return States(h, initial, lengths, c)

    def _all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        """Return i, f, g, o, c_{t-1} and c_t at every step, (B, T, H) each."""
        return states.cache.memoize("equations", lambda: self._equations_at_all_steps(x, states))

    def _equations_at_all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        assert states.c is not None
        assert states.initial.c is not None
        before = shift(states.c, states.initial.c)
        projected = linear(x, self.weight_ih, self.bias)
        i, f, g, o, c = self._equations(projected, states.previous_h, before)
        return i, f, g, o, before, c

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step, (B, T, H) each."""
        i, f, g, o, _, _ = self._all_steps(x, states)
        return {"input": i, "forget": f, "output": o, "keep": f, "candidate": g}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the local derivatives of every step, (B, T, H) each."""
        i, f, g, o, before, c = self._all_steps(x, states)
        p_i, p_f, p_o = self.peepholes
        squashed = torch.tanh(c)
        to_input, to_forget, to_output = g * i * (1 - i), before * f * (1 - f), squashed * o * (1 - o)
        return {
            # c_{t-1} also acts through the peepholes of i and f, and c_t through that of o.
            "keep": f + p_i * to_input + p_f * to_forget,
            "to_memory": o * (1 - squashed * squashed) + p_o * to_output,
            "to_input": to_input,
            "to_forget": to_forget,
            "to_candidate": i * (1 - g * g),
            "to_output": to_output,
        }

    @property
    def native_weights(self) -> NativeWeights:
        """The parameters in the form that the native kernel reads."""
        return NativeWeights(self.kind, self.weight_ih, self.bias, self.weight_hh, peepholes=self.peepholes)

    def _equations_from(self, buffers: ForwardCache) -> tuple[Tensor, ...]:
        assert buffers.c is not None
        before, after = (buffers.c[at].transpose(0, 1) for at in (slice(None, -1), slice(1, None)))
        return *unpack_gates(buffers), before, after
