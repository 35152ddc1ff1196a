"""Plain recurrent network (Elman 1990).

    h_t = φ(W x_t + b_ih + U h_{t-1} + b_hh),   φ = tanh or relu

It has no gates.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import StepVjp
from gatescope.cells.fused import FusedLayer, run_packed, run_padded
from gatescope.cells.initialisation import Initialisation, initialise
from gatescope.cells.kernels.layer import Kernel
from gatescope.cells.kernels.weights import NativeWeights
from gatescope.cells.state import State, States


class RNN(FusedLayer):
    """One layer and direction of `torch.nn.RNN`.

    Args:
        input_size: D.
        hidden_size: H.
        initialisation: start of the weights; see `Initialisation`.
        nonlinearity: φ. States are unbounded with relu.
        kernel: what the layer runs on; see `Kernel`.
    """

    chunk_names: ClassVar[tuple[str, ...]] = ("candidate",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        initialisation: Initialisation = "default",
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel)
        self.kind = self.nonlinearity = nonlinearity
        self.fused = nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity, batch_first=True)
        initialise(self, initialisation)

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state."""
        p, q = self.preactivations(x_t, state.h)
        return State(torch.tanh(p + q) if self.nonlinearity == "tanh" else torch.relu(p + q))

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return no gates: there are none."""
        return {}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the slope of φ at every step (B, T, H)."""
        h = states.h
        return {"slope": 1 - h * h if self.nonlinearity == "tanh" else (h > 0).to(h.dtype)}

    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the vector-Jacobian product of a step."""
        delta = state_grad.h * saved["slope"]
        previous = State(delta @ self.recurrent_weights)
        return StepVjp(previous, state_grad, delta=delta, recurrent_delta=delta)

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return ∂L/∂h_{t-1} (…, H)."""
        return (state_grad * prepared["slope"]) @ self.recurrent_weights

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """Return the Jacobian-vector product of a step."""
        return State(saved["slope"] * (tangent.h @ self.recurrent_weights.T))

    @property
    def native_weights(self) -> NativeWeights:
        """The parameters in the form that the native kernel reads."""
        w, u, b_ih, b_hh = self.weights
        return NativeWeights(self.kind, w, b_ih, u, b_hh)

    def _run(self, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
        # tanh states stay bounded at padding, relu states may overflow there.
        run = run_padded if self.nonlinearity == "tanh" else run_packed
        return run(self.fused, x, lengths, initial)
