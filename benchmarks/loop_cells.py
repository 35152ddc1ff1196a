"""One time step of every cell with its gates, written from the equations of the papers.

Only the weights are those of `gatescope.cells`; the equations do not use its code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, relu, sigmoid, tanh

from gatescope.cells.state import State

Gates = dict[str, Tensor]
Step = Callable[[Any, Tensor, State], tuple[State, Gates]]
"""Computes the next state and the gates, (B, H) each, from (cell, W x_t + b (B, chunks·H), state)."""


def rnn(cell: Any, input_part: Tensor, state: State) -> tuple[State, Gates]:
    """Compute one time step of a vanilla RNN or an IRNN."""
    total = input_part + linear(state.h, cell.fused.weight_hh_l0, cell.fused.bias_hh_l0)
    return State(tanh(total) if cell.nonlinearity == "tanh" else relu(total)), {}


def gru(cell: Any, input_part: Tensor, state: State) -> tuple[State, Gates]:
    """Compute one time step of a GRU as torch defines it."""
    p_r, p_z, p_n = input_part.chunk(3, -1)
    q_r, q_z, q_n = linear(state.h, cell.fused.weight_hh_l0, cell.fused.bias_hh_l0).chunk(3, -1)
    r, z = sigmoid(p_r + q_r), sigmoid(p_z + q_z)
    n = tanh(p_n + r * q_n)
    return State((1 - z) * n + z * state.h), {"reset": r, "update": 1 - z, "keep": z, "candidate": n}


def gru_article(cell: Any, input_part: Tensor, state: State) -> tuple[State, Gates]:
    """Compute one time step of a GRU with the equations of `gatescope.cells.gru_article`."""
    p_r, p_z, p_n = input_part.chunk(3, -1)
    q_r, q_z, q_n = linear(state.h, cell.weight_hh).chunk(3, -1)
    r, z = sigmoid(p_r + q_r), sigmoid(p_z + q_z)
    n = tanh(p_n + r * q_n)
    return State((1 - z) * state.h + z * n), {"reset": r, "update": z, "keep": 1 - z, "candidate": n}


def lstm(cell: Any, input_part: Tensor, state: State) -> tuple[State, Gates]:
    """Compute one time step of an LSTM."""
    assert state.c is not None
    total = input_part + linear(state.h, cell.fused.weight_hh_l0, cell.fused.bias_hh_l0)
    i, f, g, o = total.chunk(4, -1)
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    c = f * state.c + i * g
    return State(o * tanh(c), c), {"input": i, "forget": f, "output": o, "keep": f, "candidate": g}


def peephole_lstm(cell: Any, input_part: Tensor, state: State) -> tuple[State, Gates]:
    """Compute one time step of an LSTM with peephole connections (Gers & Schmidhuber 2000)."""
    assert state.c is not None
    p_i, p_f, p_o = cell.peepholes
    i, f, g, o = (input_part + linear(state.h, cell.weight_hh)).chunk(4, -1)
    i, f, g = sigmoid(i + p_i * state.c), sigmoid(f + p_f * state.c), tanh(g)
    c = f * state.c + i * g
    o = sigmoid(o + p_o * c)
    return State(o * tanh(c), c), {"input": i, "forget": f, "output": o, "keep": f, "candidate": g}


def _positive(x: Tensor) -> Tensor:
    return torch.where(x >= 0, x + 0.5, sigmoid(x))


def mingru(cell: Any, input_part: Tensor, state: State) -> tuple[State, Gates]:
    """Compute one time step of a minGRU (Feng et al. 2024)."""
    z, candidate = input_part.chunk(2, -1)
    z, candidate = sigmoid(z), _positive(candidate)
    return State((1 - z) * state.h + z * candidate), {"update": z, "keep": 1 - z, "candidate": candidate}


def minlstm(cell: Any, input_part: Tensor, state: State) -> tuple[State, Gates]:
    """Compute one time step of a minLSTM (Feng et al. 2024)."""
    i, f, candidate = input_part.chunk(3, -1)
    i, f, candidate = sigmoid(i), sigmoid(f), _positive(candidate)
    total = f + i
    f, i = f / total, i / total
    return State(f * state.h + i * candidate), {"forget": f, "input": i, "keep": f, "candidate": candidate}


def input_product(cell: Any, x: Tensor) -> Tensor:
    """Compute W x + b, for any leading shape."""
    fused = getattr(cell, "fused", None)
    return linear(x, cell.input_weights, cell.bias if fused is None else fused.bias_ih_l0)


STEPS: dict[str, Step] = {
    "rnn": rnn,
    "irnn": rnn,
    "gru": gru,
    "gru_article": gru_article,
    "lstm": lstm,
    "peephole_lstm": peephole_lstm,
    "mingru": mingru,
    "minlstm": minlstm,
}
