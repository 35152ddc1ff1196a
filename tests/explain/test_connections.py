"""Norms of ∂h_t/∂x_s against autograd."""

from __future__ import annotations

import pytest
import torch

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.rnn import RNN
from gatescope.explain.connections import connections
from gatescope.models.stack import RecurrentStack


class Model(torch.nn.Module):
    """A stack without a head, which is all that is read."""

    def __init__(self, cell: object, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.stack = RecurrentStack(cell, 3, 4, layers, bidirectional)  # type: ignore[arg-type]


def by_autograd(stack: RecurrentStack, x: torch.Tensor) -> torch.Tensor:
    """The Frobenius norm of each block (H, D) of the whole Jacobian (T·H, T·D)."""
    jacobian = torch.autograd.functional.jacobian(lambda one: stack(one), x)[0, :, :, 0]
    return jacobian.square().sum((1, 3)).sqrt()  # type: ignore[no-any-return]


@pytest.mark.parametrize("cell", [RNN, GRU, GRUArticle, LSTM, MinGRU])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_norms_equal_those_of_autograd(cell: object, layers: int, bidirectional: bool) -> None:
    torch.manual_seed(0)
    model = Model(cell, layers, bidirectional).double().eval()
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    found = connections(model, x, torch.tensor([6]))  # type: ignore[arg-type]
    torch.testing.assert_close(found, by_autograd(model.stack, x))
    if not bidirectional:
        assert bool((found.triu(1) == 0).all()), "an earlier state does not depend on a later word"
