"""The gated recurrent unit as the article writes it: one bias, and z is the share of the new state.

    r_t = σ(W_r x_t + U_r h_{t-1} + b_r)                 reset gate
    z_t = σ(W_z x_t + U_z h_{t-1} + b_z)                 update gate
    h~_t = tanh(W x_t + r_t ⊙ (U h_{t-1}) + b)           candidate
    h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h~_t

This is torch's GRU with b_hn = 0 and the update gate's weights and bias negated, and runs on its kernels.
"""

from __future__ import annotations

import torch
from torch import _VF, Tensor, nn

from gatescope.cells.gru import GatedUnit
from gatescope.cells.initialisation import (
    Initialisation,
    LongestDependency,
    chrono_bias,
    initialise,
    uniform_start,
)
from gatescope.cells.kernels.layer import Kernel
from gatescope.cells.state import State, States
from gatescope.cells.tensors import zero_padding


class GRUArticle(GatedUnit):
    """A GRU with 3H(D + H + 1) parameters, rows in the order r, z, h~.

    Args:
        input_size: D.
        hidden_size: H.
        initialisation: start of the weights; see `Initialisation`.
        chrono: longest dependency T_max in steps: b_z = -ln U[1, T_max - 1] (Tallec & Ollivier 2018).
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
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        uniform_start(self, fan_in=hidden_size)
        initialise(self, initialisation)
        if chrono is not None:
            with torch.no_grad():
                self.bias.chunk(3)[1].copy_(-chrono_bias(self, chrono))

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        w_r, w_z, w = self.weight_ih.chunk(3)
        u_r, u_z, u = self.weight_hh.chunk(3)
        b_r, b_z, b = self.bias.chunk(3)
        h = state.h
        r = torch.sigmoid(x_t @ w_r.T + h @ u_r.T + b_r)
        z = torch.sigmoid(x_t @ w_z.T + h @ u_z.T + b_z)
        candidate = torch.tanh(x_t @ w.T + r * (h @ u.T) + b)
        return State((1 - z) * h + z * candidate)

    @property
    def input_weights(self) -> Tensor:
        """W (3H, D)."""
        return self.weight_ih

    @property
    def recurrent_weights(self) -> Tensor:
        """U (3H, H)."""
        return self.weight_hh

    @property
    def weights(self) -> list[Tensor]:
        """W, U, b_ih and b_hh of torch's GRU, whose z is 1 - z_t."""
        mapped = [_negate_update(values) for values in (self.weight_ih, self.weight_hh, self.bias)]
        return [*mapped, torch.zeros_like(self.bias)]

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the local derivatives of every step, (B, T, H) each."""
        saved = super().linearise(x, states)
        return {**saved, "to_update": -saved["to_update"]}

    def _run(self, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
        # cuDNN has no backward pass in eval mode, and without dropout both modes compute the same.
        h, _ = _VF.gru(x, initial.h[None], self.weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return zero_padding(h, lengths)

    def _own_rows(self, deltas: Tensor) -> Tensor:
        r, z, candidate = deltas.chunk(3, dim=-1)
        return torch.cat([r, -z, candidate], dim=-1)


def _negate_update(values: Tensor) -> Tensor:
    r, z, candidate = values.chunk(3)
    return torch.cat([r, -z, candidate])
