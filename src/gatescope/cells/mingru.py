"""minGRU (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?", appendix B.3).

z_t = σ(W_z x_t + b_z)                     update gate
h~_t = g(W_h x_t + b_h)                    candidate, positive
h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h~_t
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


class MinGRU(MinimalLayer):
    """A GRU whose gate sees the input only; parallel in time."""

    kind = "mingru"
    gate_names: ClassVar[tuple[str, ...]] = ("update",)
    chunk_names: ClassVar[tuple[str, ...]] = ("update", "candidate")

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        update, candidate = self.preactivations(x_t)
        z = torch.sigmoid(update)
        return State((1 - z) * state.h + z * g(candidate))

    def equations(self, *preactivations: Tensor) -> tuple[Tensor, ...]:
        """Return the share kept, the candidate and the update gate."""
        update, candidate = preactivations
        return torch.sigmoid(-update), g(candidate), torch.sigmoid(update)

    def log_scan(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ln keep and ln written, (B, T, H) each."""
        update, candidate = self.preactivations(x)
        return -softplus(update), -softplus(-update) + log_g(candidate)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step, (B, T, H) each."""
        keep, candidate, update = self._all_steps(x, states)
        return {"update": update, "keep": keep, "candidate": candidate}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the local derivatives of every step, (B, T, H) each."""
        keep, candidate, update = self._all_steps(x, states)
        return {
            "keep": keep,
            "to_update": (candidate - states.previous_h) * update * keep,
            "to_candidate": update * g_slope(candidate),
        }

    @property
    def native_weights(self) -> NativeWeights:
        """The parameters in the form that the native kernel reads."""
        return NativeWeights(self.kind, self.weight_ih, self.bias)

    def _equations_from(self, buffers: ForwardCache) -> tuple[Tensor, ...]:
        assert buffers.extra is not None
        return *unpack_gates(buffers), buffers.layout.unpack(buffers.extra)
