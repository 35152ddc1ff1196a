"""minLSTM (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?", appendix B.3).

    f_t = σ(W_f x_t + b_f),  i_t = σ(W_i x_t + b_i)
    f'_t = f_t / (f_t + i_t),  i'_t = i_t / (f_t + i_t)       normalised: they sum to 1
    h~_t = g(W_h x_t + b_h)                                    candidate, positive
    h_t = f'_t ⊙ h_{t-1} + i'_t ⊙ h~_t

The published gates are the normalised ones, which act on the state: `keep` = `forget` = f', `input` = i'.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gatescope.cells.kernels.layer import unpack_gates
from gatescope.cells.kernels.recurrence import ForwardCache
from gatescope.cells.kernels.weights import NativeWeights
from gatescope.cells.minimal import MinimalLayer
from gatescope.cells.scan import g, g_slope, log_g
from gatescope.cells.state import State, States


class MinLSTM(MinimalLayer):
    """An LSTM without memory cell whose gates see the input only; parallel in time."""

    kind = "minlstm"
    gate_names: ClassVar[tuple[str, ...]] = ("input", "forget")
    chunk_names: ClassVar[tuple[str, ...]] = ("input", "forget", "candidate")

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        input_gate, forget, candidate = self.preactivations(x_t)
        i, f = torch.sigmoid(input_gate), torch.sigmoid(forget)
        return State(f / (f + i) * state.h + i / (f + i) * g(candidate))

    def equations(self, *preactivations: Tensor) -> tuple[Tensor, ...]:
        """Return the share kept f', the candidate, the share written i', and i + f."""
        input_gate, forget, candidate = preactivations
        odds = softplus(-input_gate) - softplus(-forget)
        total = torch.sigmoid(input_gate) + torch.sigmoid(forget)
        return torch.sigmoid(odds), g(candidate), torch.sigmoid(-odds), total

    def log_scan(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ln keep and ln written, (B, T, H) each."""
        input_gate, forget, candidate = self.preactivations(x)
        odds = softplus(-input_gate) - softplus(-forget)
        return -softplus(-odds), -softplus(odds) + log_g(candidate)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step, (B, T, H) each."""
        keep, candidate, written, _ = self._all_steps(x, states)
        return {"input": written, "forget": keep, "keep": keep, "candidate": candidate}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the local derivatives of every step, (B, T, H) each."""
        keep, candidate, written, total = self._all_steps(x, states)
        swap = (candidate - states.previous_h) * keep * written
        return {
            "keep": keep,
            "to_input": swap * (1 - written * total),
            "to_forget": -swap * (1 - keep * total),
            "to_candidate": written * g_slope(candidate),
        }

    @property
    def native_weights(self) -> NativeWeights:
        """The parameters in the form that the native kernel reads."""
        return NativeWeights(self.kind, self.weight_ih, self.bias)

    def _equations_from(self, buffers: ForwardCache) -> tuple[Tensor, ...]:
        assert buffers.extra is not None
        written, keep, candidate = unpack_gates(buffers)
        return keep, candidate, written, buffers.layout.unpack(buffers.extra)
