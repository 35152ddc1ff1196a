"""Gated recurrent unit (Cho et al. 2014), as torch and Keras (reset_after=True) compute it.

    r_t = σ(W_r x_t + b_ir + U_r h_{t-1} + b_hr)                reset gate
    z_t = σ(W_z x_t + b_iz + U_z h_{t-1} + b_hz)                torch's z: the share of the old state kept
    n_t = tanh(W_n x_t + b_in + r_t ⊙ (U_n h_{t-1} + b_hn))     candidate
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

Published gates follow the house's convention: `update` = 1 - z_t, `keep` = z_t.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gatescope.cells.base import State, States, StepVjp, in_blocks
from gatescope.cells.fused import FusedLayer
from gatescope.cells.initialisation import Initialisation, LongestDependency, chrono_bias, initialise
from gatescope.cells.kernels.layer import Kernel, chunks
from gatescope.cells.kernels.walk import Walked
from gatescope.cells.kernels.weights import NativeWeights


class GatedUnit(FusedLayer):
    """The equations, whatever the weights are kept as."""

    gate_names: ClassVar[tuple[str, ...]] = ("reset", "update")
    chunk_names: ClassVar[tuple[str, ...]] = ("reset", "update", "candidate")

    def _equations(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """r, z, n and Q_n = U_n h_{t-1} + b_hn, for any leading shape."""
        p, q = self.preactivations(x, previous)
        p_r, p_z, p_n = p.chunk(3, dim=-1)
        q_r, q_z, q_n = q.chunk(3, dim=-1)
        r, z = torch.sigmoid(p_r + q_r), torch.sigmoid(p_z + q_z)
        return r, z, torch.tanh(torch.addcmul(p_n, r, q_n)), q_n

    @property
    def native_weights(self) -> NativeWeights:
        w, u, b_ih, b_hh = self.weights
        return NativeWeights("gru", w, b_ih, u, b_hh)

    def _equations_of(self, walked: Walked) -> tuple[Tensor, ...]:
        assert walked.extra is not None
        return *chunks(walked), walked.layout.unpack(walked.extra)

    def _all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        return states.once("equations", lambda: in_blocks(self._equations, x, states.previous_h))

    def step(self, x_t: Tensor, state: State) -> State:
        _, z, n, _ = self._equations(x_t, state.h)
        return State((1 - z) * n + z * state.h)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        r, z, n, _ = self._all_steps(x, states)
        return {"reset": r, "update": 1 - z, "keep": z, "candidate": n}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        previous = states.previous_h
        r, z, n, q_n = self._all_steps(x, states)
        return {
            "keep": z,
            "reset": r,
            "to_candidate": (1 - z) * (1 - n * n),
            "to_update": (previous - n) * z * (1 - z),
            "to_reset": q_n * r * (1 - r),
        }

    def vjp(self, adjoint: State, saved: dict[str, Tensor]) -> StepVjp:
        a = adjoint.h
        candidate = a * saved["to_candidate"]
        update = a * saved["to_update"]
        reset = candidate * saved["to_reset"]
        delta = torch.cat([reset, update, candidate], dim=-1)
        recurrent = torch.cat([reset, update, candidate * saved["reset"]], dim=-1)
        previous = a * saved["keep"] + recurrent @ self.recurrent_weights
        return StepVjp(delta, recurrent, State(previous), adjoint)

    def for_pull_back(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        candidate = saved["to_candidate"]
        gates = [candidate * saved["to_reset"], saved["to_update"], candidate * saved["reset"]]
        return {"keep": saved["keep"], "recurrent": torch.stack(gates, dim=-2)}

    def pull_back(self, adjoint: Tensor, saved: dict[str, Tensor]) -> Tensor:
        recurrent = (adjoint[..., None, :] * saved["recurrent"]).flatten(-2)
        return torch.addcmul(recurrent @ self.recurrent_weights, adjoint, saved["keep"])

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        reset, update, candidate = (tangent.h @ self.recurrent_weights.T).chunk(3, dim=-1)
        candidate = torch.addcmul(saved["reset"] * candidate, saved["to_reset"], reset)
        kept = torch.addcmul(saved["keep"] * tangent.h, saved["to_update"], update)
        return State(torch.addcmul(kept, saved["to_candidate"], candidate))


class GRU(GatedUnit):
    """torch.nn.GRU, one layer and direction.

    The rows "update" of the weights feed torch's z: their sign is the opposite of the article's.

    Args:
        chrono: longest dependency T_max in steps: torch's z starts with the bias ln U[1, T_max - 1] (Tallec
            & Ollivier 2018), so that states last for up to T_max steps from the first step of training on.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        initialisation: Initialisation = "default",
        chrono: LongestDependency | None = None,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel)
        self.fused = nn.GRU(input_size, hidden_size, batch_first=True)
        initialise(self, initialisation)
        if chrono is not None:
            self.start_bias("update", chrono_bias(self, chrono))
