"""A task, a batch and a model that are small enough to check by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import StepVjp
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State, States
from gatescope.models.attention import Pooling
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, TaskSpec, valid_mask


class Leaky(RecurrentLayer):
    """h_t = k_t ⊙ h_{t-1} + (1 - k_t) ⊙ tanh(W x_t), k_t = σ(V x_t): gates of the input alone."""

    gate_names = ("update",)
    chunk_names = ("keep", "candidate")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.randn(2 * hidden_size, input_size))

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        initial = state = state or self.zero_state(x)
        rows = []
        for t in range(x.shape[1]):
            state = self.step(x[:, t], state)
            rows.append(state.h)
        h = torch.stack(rows, 1)
        if lengths is not None:
            h = h * valid_mask(lengths, x.shape[1])[..., None]
        return States(h, initial, lengths)

    def step(self, x_t: Tensor, state: State) -> State:
        keep, candidate = self._gates(x_t)
        return State(keep * state.h + (1 - keep) * candidate)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        keep, candidate = (x @ self.weight_ih.T).chunk(2, -1)
        return torch.sigmoid(keep), torch.tanh(candidate)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        keep, candidate = self._gates(x)
        return {"update": 1 - keep, "keep": keep, "candidate": candidate}

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        return {"keep": self._gates(x)[0]}

    def vjp(self, adjoint: State, saved: dict[str, Tensor]) -> StepVjp:
        raise NotImplementedError

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        return State(tangent.h * saved["keep"])

    @property
    def input_weights(self) -> Tensor:
        return self.weight_ih

    @property
    def recurrent_weights(self) -> None:
        return None


def squared_error(values: Tensor, targets: Tensor) -> Tensor:
    return (values - targets[:, None]).square()


def feature_task(size: int, kind: Any = "regression") -> TaskSpec:
    return TaskSpec(kind, "features", size, 1, "mse", "min")


def feature_batch(lengths: list[int], size: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), size, generator=generator)
    n = torch.tensor(lengths)
    x = x * valid_mask(n, max(lengths))[..., None]
    return Batch(x, n, torch.randn(len(lengths), generator=generator), torch.arange(len(lengths)))


def encoder(cell: Any, size: int = 3, hidden: int = 5, attention: Any = Pooling, **options: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder(feature_task(size), cell, attention, hidden_size=hidden, **options)
