"""The model, the batch and the loss with which cells are measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.irnn import IRNN
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.peephole_lstm import PeepholeLSTM
from gatescope.cells.rnn import RNN
from gatescope.models.attention import Pooling
from gatescope.models.encoder import Encoder
from gatescope.models.stack import CellFactory
from gatescope.sequences import Batch, TaskSpec

CELLS: dict[str, CellFactory] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    "irnn": partial(IRNN, input_std=0.1),
    "gru_article": GRUArticle,
    "peephole_lstm": PeepholeLSTM,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
}


@dataclass(frozen=True)
class Size:
    """Numbers of time steps T, sequences B, inputs D, units H and layers."""

    steps: int = 200
    batch: int = 64
    inputs: int = 64
    hidden: int = 128
    layers: int = 1


def make(cell: str, size: Size) -> tuple[Encoder, Batch]:
    """Return a model and a batch for regression from the last state, with a fixed seed.

    All sequences have `size.steps` time steps.
    """
    torch.manual_seed(0)
    task = TaskSpec("regression", "features", size.inputs, 1, "mse", "min")
    model = Encoder(task, CELLS[cell], Pooling, hidden_size=size.hidden, layers=size.layers)
    x = torch.randn(size.batch, size.steps, size.inputs)
    lengths = torch.full((size.batch,), size.steps)
    return model, Batch(x, lengths, torch.randn(size.batch), torch.arange(size.batch))


def loss(values: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error (B,) of values (B, 1) and targets (B,)."""
    return (values[:, 0] - targets).square()
