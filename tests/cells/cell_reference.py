"""What the cells are tested against: plain Python loops over `step`, through which autograd walks in time."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.irnn import IRNN
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.peephole_lstm import PeepholeLSTM
from gatescope.cells.rnn import RNN
from gatescope.cells.tensors import reverse_within
from gatescope.models.stack import RecurrentStack
from gatescope.sequences import valid_mask

CELLS = {
    "rnn": RNN,
    "rnn_relu": partial(RNN, nonlinearity="relu"),
    "rnn_orthogonal": partial(RNN, initialisation="orthogonal"),
    # Input weights of the paper's size would leave nothing to compare.
    "irnn": partial(IRNN, input_std=0.3, recurrent_scale=0.7),
    "gru": GRU,
    "gru_chrono": partial(GRU, chrono=20),
    "gru_article": GRUArticle,
    "gru_article_xavier": partial(GRUArticle, initialisation="xavier"),
    "lstm": LSTM,
    "lstm_forget": partial(LSTM, forget_bias=1.0),
    "lstm_chrono": partial(LSTM, chrono=20),
    "peephole_lstm": PeepholeLSTM,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "mingru_sequential": partial(MinGRU, scan="sequential"),
    "minlstm_sequential": partial(MinLSTM, scan="sequential"),
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}

Walk = tuple[list[Tensor], list[Tensor]]


def loop(layer: RecurrentLayer, x: Tensor) -> Walk:
    """h_t and c_t of every step, (B, H) each, whose gradients will be retained."""
    state, h, c = layer.zero_state(x), [], []
    for t in range(x.shape[1]):
        state = layer.step(x[:, t], state)
        h.append(state.h)
        if state.c is not None:
            c.append(state.c)
    for value in h + c:
        if value.requires_grad:
            value.retain_grad()
    return h, c


def loop_stack(stack: RecurrentStack, x: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, Walk]]:
    """The stack's output (B, T, S) and every layer's walk, in the layer's own time."""
    padding = ~valid_mask(lengths, x.shape[1])[..., None]
    walks: dict[str, Walk] = {}
    for depth in range(stack.depth):
        outputs = []
        for name in (n for n in stack.layers if n.startswith(f"layer{depth}")):
            backward = name.endswith("backward")
            walks[name] = loop(stack.layers[name], reverse_within(x, lengths) if backward else x)
            h = torch.stack(walks[name][0], dim=1).masked_fill(padding, 0)
            outputs.append(reverse_within(h, lengths) if backward else h)
        x = torch.cat(outputs, dim=-1)
    return x, walks


def gradients(walk: list[Tensor]) -> Tensor:
    """(B, T, H): what autograd retained at each step."""
    return torch.stack([torch.zeros_like(v) if v.grad is None else v.grad for v in walk], dim=1)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest deviation over the largest expected value."""
    scale = expected.detach().abs().max().clamp_min(1e-30)
    return float((found.detach() - expected.detach()).abs().max() / scale)
