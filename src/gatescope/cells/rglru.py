"""Real-gated linear recurrent unit, the recurrence of Griffin (De et al. 2024, arXiv 2402.19427, eqs. 1-4).

    r_t = σ(W_r x_t + b_r)                                recurrence gate
    i_t = σ(W_i x_t + b_i)                                input gate
    a_t = a^(8 r_t),  a = σ(Λ)                            the share of the old state kept
    h_t = a_t ⊙ h_{t-1} + √(1 - a_t²) ⊙ (i_t ⊙ u_t),  u_t = W_u x_t + b_u

In the paper the gates read u_t, a linear map of the block's input; a linear map of u_t is one of x_t. With
W_u = I and b_u = 0 these are the paper's equations. The gates are published as `recurrence` = r_t, `input` =
i_t, `keep` = a_t and `candidate` = √(1 - a_t²) ⊙ u_t.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from gatescope.cells.initialisation import uniform_start
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.scan import linear_recurrence
from gatescope.cells.state import State, States
from gatescope.cells.tensors import padded_lengths, zero_padding

EXPONENT = 8.0
"""c of the paper: a_t = a^(c r_t)."""

Share = Annotated[float, Field(gt=0, lt=1)]


class RGLRU(RecurrentLayer):
    """One RG-LRU layer; the gates see the input only.

    Args:
        input_size: D.
        hidden_size: H.
        least: lower bound of a^8 at the start. Λ is drawn so that a^8 is uniform between the bounds, as in
            the paper (section 2.4).
        most: upper bound.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("recurrence", "input")
    chunk_names: ClassVar[tuple[str, ...]] = ("recurrence", "input", "candidate")
    is_diagonal: ClassVar[bool] = True

    def __init__(self, input_size: int, hidden_size: int, least: Share = 0.9, most: Share = 0.999) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        uniform_start(self, fan_in=input_size)
        a = torch.empty(hidden_size).uniform_(least, most) ** (1 / EXPONENT)
        self.decay = nn.Parameter(torch.logit(a))  # Λ

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        _, i, a, candidate = self._equations(x_t)
        return State(a * state.h + i * candidate)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step, (B, T, H) each."""
        r, i, a, candidate = self._equations(x)
        return {"recurrence": r, "input": i, "keep": a, "candidate": candidate}

    def _equations(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return r_t, i_t, a_t and √(1 - a_t²) ⊙ u_t, for any leading shape."""
        r, i, u = linear(x, self.weight_ih, self.bias).chunk(3, dim=-1)
        r, i = torch.sigmoid(r), torch.sigmoid(i)
        log_a = EXPONENT * r * logsigmoid(self.decay)
        # expm1, because 1 - a² loses its digits where a is near 1; the bound keeps the root differentiable.
        square = (-torch.expm1(2 * log_a)).clamp_min(torch.finfo(x.dtype).tiny)
        return r, i, log_a.exp(), square.sqrt() * u

    # The methods below only save time: no gate depends on a state.

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Run the layer over a batch, with the gates of all steps computed at once."""
        initial, lengths = state or self.zero_state(x), padded_lengths(lengths, x.shape[1])
        _, i, a, candidate = self._equations(x)
        return States(zero_padding(linear_recurrence(a, i * candidate, initial.h), lengths), initial, lengths)

    def prepare_vjp(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the share kept (B, t, H)."""
        return {"keep": self._equations(saved["x"])[2]}

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return ∂L/∂h_{t-1} (…, H)."""
        return state_grad * prepared["keep"]
