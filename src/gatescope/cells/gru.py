"""Gated recurrent unit (Cho et al. 2014), as torch and Keras (reset_after=True) compute it.

    r_t = σ(W_r x_t + b_ir + U_r h_{t-1} + b_hr)                reset gate
    z_t = σ(W_z x_t + b_iz + U_z h_{t-1} + b_hz)                torch's z: the share of the old state kept
    n_t = tanh(W_n x_t + b_in + r_t ⊙ (U_n h_{t-1} + b_hn))     candidate
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

The gates are published as `update` = 1 - z_t, the share of the candidate that is written, and `keep` = z_t.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import StepVjp
from gatescope.cells.fused import FusedLayer
from gatescope.cells.initialisation import Initialisation, LongestDependency, chrono_bias, initialise
from gatescope.cells.kernels.layer import Kernel, unpack_gates
from gatescope.cells.kernels.recurrence import ForwardCache
from gatescope.cells.kernels.weights import NativeWeights
from gatescope.cells.state import State, States
from gatescope.cells.tensors import in_chunks


class GatedUnit(FusedLayer):
    """The equations of a GRU, independent of how a subclass stores the weights."""

    kind = "gru"
    gate_names: ClassVar[tuple[str, ...]] = ("reset", "update")
    chunk_names: ClassVar[tuple[str, ...]] = ("reset", "update", "candidate")

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        _, z, n, _ = self._equations(x_t, state.h)
        return State((1 - z) * n + z * state.h)

    def _equations(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return r, z, n and Q_n = U_n h_{t-1} + b_hn for any leading shape."""
        p, q = self.preactivations(x, previous)
        p_r, p_z, p_n = p.chunk(3, dim=-1)
        q_r, q_z, q_n = q.chunk(3, dim=-1)
        r, z = torch.sigmoid(p_r + q_r), torch.sigmoid(p_z + q_z)
        return r, z, torch.tanh(torch.addcmul(p_n, r, q_n)), q_n

    def _all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        """Return `_equations` at every step, (B, T, H) each."""
        return states.cache.memoize("equations", lambda: in_chunks(self._equations, x, states.previous_h))

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step, (B, T, H) each."""
        r, z, n, _ = self._all_steps(x, states)
        return {"reset": r, "update": 1 - z, "keep": z, "candidate": n}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the local derivatives of every step, (B, T, H) each."""
        previous = states.previous_h
        r, z, n, q_n = self._all_steps(x, states)
        return {
            "keep": z,
            "reset": r,
            "to_candidate": (1 - z) * (1 - n * n),
            "to_update": (previous - n) * z * (1 - z),
            "to_reset": q_n * r * (1 - r),
        }

    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the vector-Jacobian product of a step."""
        a = state_grad.h
        candidate = a * saved["to_candidate"]
        update = a * saved["to_update"]
        reset = candidate * saved["to_reset"]
        delta = torch.cat([reset, update, candidate], dim=-1)
        recurrent = torch.cat([reset, update, candidate * saved["reset"]], dim=-1)
        previous = a * saved["keep"] + recurrent @ self.recurrent_weights
        return StepVjp(State(previous), state_grad, delta=delta, recurrent_delta=recurrent)

    def prepare_vjp(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the keep gate, and the derivatives at the recurrent products (B, t, 3, H)."""
        candidate = saved["to_candidate"]
        gates = [candidate * saved["to_reset"], saved["to_update"], candidate * saved["reset"]]
        return {"keep": saved["keep"], "recurrent": torch.stack(gates, dim=-2)}

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return ∂L/∂h_{t-1} (…, H)."""
        recurrent = (state_grad[..., None, :] * prepared["recurrent"]).flatten(-2)
        return torch.addcmul(recurrent @ self.recurrent_weights, state_grad, prepared["keep"])

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """Return the Jacobian-vector product of a step."""
        reset, update, candidate = (tangent.h @ self.recurrent_weights.T).chunk(3, dim=-1)
        candidate = torch.addcmul(saved["reset"] * candidate, saved["to_reset"], reset)
        kept = torch.addcmul(saved["keep"] * tangent.h, saved["to_update"], update)
        return State(torch.addcmul(kept, saved["to_candidate"], candidate))

    @property
    def native_weights(self) -> NativeWeights:
        """The parameters in the form that the native kernel reads."""
        w, u, b_ih, b_hh = self.weights
        return NativeWeights(self.kind, w, b_ih, u, b_hh)

    def _equations_from(self, buffers: ForwardCache) -> tuple[Tensor, ...]:
        assert buffers.extra is not None
        return *unpack_gates(buffers), buffers.layout.unpack(buffers.extra)


class GRU(GatedUnit):
    """One layer and direction of `torch.nn.GRU`.

    The rows "update" of the weights compute torch's z, so their sign is the opposite of `gru_article`'s.

    Args:
        input_size: D.
        hidden_size: H.
        initialisation: start of the weights; see `Initialisation`.
        chrono: longest dependency T_max in steps. The bias of z starts at ln U[1, T_max - 1], so that states
            last up to T_max steps from the first training step on (Tallec & Ollivier 2018). None: off.
        kernel: what the layer runs on; see `Kernel`.
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
