"""Linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349, section 3): diagonal, complex, without gates.

    s_t = λ ⊙ s_{t-1} + γ ⊙ (B x_t),   s_t complex, of H/2 units
    λ = exp(-exp(ν) + i exp(θ)),  γ = exp(γ_log)          exponential parametrisation, |λ| < 1
    h_t = [Re s_t; Im s_t]

The paper's output Re(C s_t) is linear in h_t, so the next layer or the head contains it. At the start λ is
uniform on a ring of the complex plane, and γ = √(1 - |λ|²) normalises the states. `keep` = |λ| is the share
of a state's norm that stays; it is the same at every step.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.scan import scan_sequential
from gatescope.cells.state import State, States
from gatescope.cells.tensors import padded_lengths, zero_padding


class LRU(RecurrentLayer):
    """One LRU layer.

    Args:
        input_size: D.
        hidden_size: H, even: real and imaginary part of H/2 complex units.
        r_min: inner radius of the ring on which λ starts.
        r_max: outer radius. Values near 1 give long memory.
        max_phase: largest phase of λ at the start, in radians.

    Raises:
        ValueError: `hidden_size` is odd, or the radii are not in order.
    """

    chunk_names: ClassVar[tuple[str, ...]] = ("candidate",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        r_min: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        r_max: Annotated[float, Field(gt=0, le=1)] = 1.0,
        max_phase: Annotated[float, Field(gt=0)] = 2 * math.pi,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if hidden_size % 2:
            raise ValueError(f"hidden_size={hidden_size} must be even: an LRU has H/2 complex units")
        if r_min >= r_max:
            raise ValueError(f"r_min={r_min} must be below r_max={r_max}")
        units = hidden_size // 2
        square = torch.empty(units).uniform_(r_min**2, r_max**2).clamp(1e-6, 1 - 1e-6)
        rate = -0.5 * square.log()  # |λ| = exp(-rate)
        self.log_rate = nn.Parameter(rate.log())  # ν
        self.log_phase = nn.Parameter(torch.empty(units).uniform_(1e-6, max_phase).log())  # θ
        self.log_scale = nn.Parameter(0.5 * (-torch.expm1(-2 * rate)).log())  # γ_log
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size) / math.sqrt(2 * input_size))

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        radius, phase = torch.exp(-self.log_rate.exp()), self.log_phase.exp()
        cosine, sine = radius * phase.cos(), radius * phase.sin()
        real, imaginary = state.h.chunk(2, dim=-1)
        turned = torch.cat([cosine * real - sine * imaginary, sine * real + cosine * imaginary], dim=-1)
        return State(turned + self.log_scale.exp().repeat(2) * linear(x_t, self.weight_ih))

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return `keep` = |λ| of each unit, (B, T, H)."""
        return {"keep": torch.exp(-self.log_rate.exp()).repeat(2).expand_as(states.h)}

    # The methods below only save time: the recurrence is linear, and the same at every step.

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Run the layer over a batch, with the inputs of all steps projected at once."""
        initial, lengths = state or self.zero_state(x), padded_lengths(lengths, x.shape[1])
        written = _complex(self.log_scale.exp().repeat(2) * linear(x, self.weight_ih))
        decay = self._decay().expand_as(written)
        s = scan_sequential(decay, written, _complex(initial.h.to(written.real.dtype)))
        return States(zero_padding(torch.cat([s.real, s.imag], dim=-1), lengths), initial, lengths)

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return ∂L/∂h_{t-1} (…, H): the transposed rotation."""
        previous = _complex(state_grad) * self._decay().conj()
        return torch.cat([previous.real, previous.imag], dim=-1)

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """Return the Jacobian-vector product of a step: the rotation."""
        s = _complex(tangent.h) * self._decay()
        return State(torch.cat([s.real, s.imag], dim=-1))

    def _decay(self) -> Tensor:
        """Return λ (H/2), complex."""
        return torch.polar(torch.exp(-self.log_rate.exp()), self.log_phase.exp())


def _complex(h: Tensor) -> Tensor:
    """Return [Re s; Im s] (…, H) as s (…, H/2), complex."""
    return torch.complex(*h.chunk(2, dim=-1))
