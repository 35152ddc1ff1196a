"""Plain recurrent network (Elman 1990).

    h_t = φ(W x_t + b_ih + U h_{t-1} + b_hh),   φ = tanh or relu

It has no gates.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gatescope.cells.base import State, States, StepVjp
from gatescope.cells.fused import FusedLayer, run_packed, run_padded
from gatescope.cells.initialisation import Initialisation, initialise
from gatescope.cells.kernels.layer import Kernel
from gatescope.cells.kernels.weights import NativeWeights


class RNN(FusedLayer):
    """torch.nn.RNN, one layer and direction.

    Args:
        nonlinearity: φ. A relu state is unbounded.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        initialisation: Initialisation = "default",
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel)
        self.nonlinearity = nonlinearity
        self.fused = nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity, batch_first=True)
        initialise(self, initialisation)

    @property
    def native_weights(self) -> NativeWeights:
        w, u, b_ih, b_hh = self.weights
        return NativeWeights(self.nonlinearity, w, b_ih, u, b_hh)

    def _run(self, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
        # tanh states stay bounded over the padded steps, relu states may overflow there.
        run = run_padded if self.nonlinearity == "tanh" else run_packed
        return run(self.fused, x, lengths, initial)

    def step(self, x_t: Tensor, state: State) -> State:
        p, q = self.preactivations(x_t, state.h)
        return State(torch.tanh(p + q) if self.nonlinearity == "tanh" else torch.relu(p + q))

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        return {}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        h = states.h
        return {"slope": 1 - h * h if self.nonlinearity == "tanh" else (h > 0).to(h.dtype)}

    def vjp(self, adjoint: State, saved: dict[str, Tensor]) -> StepVjp:
        delta = adjoint.h * saved["slope"]
        return StepVjp(delta, delta, State(delta @ self.recurrent_weights), adjoint)

    def pull_back(self, adjoint: Tensor, saved: dict[str, Tensor]) -> Tensor:
        return (adjoint * saved["slope"]) @ self.recurrent_weights

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        return State(saved["slope"] * (tangent.h @ self.recurrent_weights.T))
