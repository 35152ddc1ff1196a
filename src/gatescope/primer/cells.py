"""The equations of the article as layers: their sizes, and how they differ from the GRU of torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gatescope.cells.derived import forward
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN

INPUT, HIDDEN = 100, 64
"""Sizes of the example of the article: GRU(64, input_shape=(None, 100))."""
STEPS = 20


@torch.no_grad()
def measure() -> dict[str, Any]:
    """Count parameters, and compare the states of the article's GRU with those of torch's.

    Returns:
        `parameters` by cell; `torch`, the number of `nn.GRU`, which has a second bias; `same_states`, the
        largest difference of the states when torch's z is the article's 1 − z; and `other_states`, the
        largest difference when the same weights are used without that change.
    """
    torch.manual_seed(0)
    cells = {"rnn": RNN(INPUT, HIDDEN), "gru": GRUArticle(INPUT, HIDDEN), "lstm": LSTM(INPUT, HIDDEN)}
    article = cells["gru"].double()
    assert isinstance(article, GRUArticle)
    x = torch.randn(8, STEPS, INPUT, dtype=torch.float64)
    states = forward(
        article.step, x, None, article.zero_state(x)
    ).h  # the equations of the article, step by step
    theirs = nn.GRU(INPUT, HIDDEN, batch_first=True).double()
    differences = {}
    zero = torch.zeros_like(article.bias)
    for name, weights in {
        "same_states": article.weights,
        "other_states": [article.weight_ih, article.weight_hh, article.bias, zero],
    }.items():
        for parameter, value in zip(theirs.parameters(), weights, strict=True):
            parameter.copy_(value)
        differences[name] = float((theirs(x)[0] - states).abs().max())
    blocks = {"rnn": 1, "gru": 3, "lstm": 4}
    return {
        "input": INPUT,
        "hidden": HIDDEN,
        "parameters": {name: count * HIDDEN * (INPUT + HIDDEN + 1) for name, count in blocks.items()},
        "torch": {
            name: _count(layer(INPUT, HIDDEN))
            for name, layer in (("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM))
        },
        "article": _count(article),
        **differences,
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
