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

from gatescope.cells.base import State, States
from gatescope.cells.kernels.layer import chunks
from gatescope.cells.kernels.walk import Walked
from gatescope.cells.kernels.weights import NativeWeights
from gatescope.cells.minimal import MinimalLayer
from gatescope.cells.scan import g, g_slope, log_g


class MinGRU(MinimalLayer):
    """Parallel in time; the gates see the input only."""

    gate_names: ClassVar[tuple[str, ...]] = ("update",)
    chunk_names: ClassVar[tuple[str, ...]] = ("update", "candidate")

    def step(self, x_t: Tensor, state: State) -> State:
        update, candidate = self.preactivations(x_t)
        z = torch.sigmoid(update)
        return State((1 - z) * state.h + z * g(candidate))

    @property
    def native_weights(self) -> NativeWeights:
        return NativeWeights("mingru", self.weight_ih, self.bias)

    def _equations_of(self, walked: Walked) -> tuple[Tensor, ...]:
        assert walked.extra is not None
        return *chunks(walked), walked.layout.unpack(walked.extra)

    def equations(self, *fed: Tensor) -> tuple[Tensor, ...]:
        """The share kept, the candidate and the update gate."""
        update, candidate = fed
        return torch.sigmoid(-update), g(candidate), torch.sigmoid(update)

    def log_scan(self, x: Tensor) -> tuple[Tensor, Tensor]:
        update, candidate = self.preactivations(x)
        return -softplus(update), -softplus(-update) + log_g(candidate)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        keep, candidate, update = self._all_steps(x, states)
        return {"update": update, "keep": keep, "candidate": candidate}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        keep, candidate, update = self._all_steps(x, states)
        return {
            "keep": keep,
            "to_update": (candidate - states.previous_h) * update * keep,
            "to_candidate": update * g_slope(candidate),
        }
