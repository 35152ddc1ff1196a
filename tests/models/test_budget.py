"""Equal parameter budgets (docs/instruments.md, "Comparison")."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import torch
from conftest import Compose
from torch import nn

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.peephole_lstm import PeepholeLSTM
from gatescope.cells.rnn import RNN
from gatescope.models.attention import Additive, Dot, General, Pooling, ScaledDot
from gatescope.models.budget import count_parameters, hidden_size_for
from gatescope.models.decoder import Decoding
from gatescope.models.encoder import Encoder, SequenceModel, sizes
from gatescope.models.seq2seq import Seq2Seq
from gatescope.models.stack import RecurrentStack
from gatescope.run import run
from gatescope.sequences import TaskSpec

TASK = TaskSpec("classification", "features", 64, 3, "accuracy", "max")
CELLS = [RNN, GRU, GRUArticle, LSTM, PeepholeLSTM, MinGRU, MinLSTM]


@pytest.mark.parametrize(("cell", "torch_module"), [(RNN, nn.RNN), (GRU, nn.GRU), (LSTM, nn.LSTM)])
def test_parameter_counts_equal_torch(cell: Any, torch_module: type) -> None:
    expected = sum(p.numel() for p in torch_module(7, 5, num_layers=2, bidirectional=True).parameters())
    assert count_parameters([RecurrentStack(cell, 7, 5, 2, True)]) == expected


def test_a_shared_parameter_counts_once() -> None:
    layer = nn.Linear(2, 3)
    assert count_parameters([layer, nn.Sequential(layer)]) == 9


@pytest.mark.parametrize("budget", [5_000, 50_000, 200_000])
@pytest.mark.parametrize(("cell", "gates"), [(RNN, 1), (GRU, 3), (LSTM, 4)])
def test_within_one_percent_and_nearest(cell: Any, gates: int, budget: int) -> None:
    def formula(h: int) -> int:
        return gates * (h * h + h * 64 + 2 * h) + 2 * h * h + 2 * h  # additive attention

    best = min(range(1, 800), key=lambda h: abs(formula(h) - budget))
    model = Encoder(TASK, cell, Additive, parameters=budget)
    assert sizes(model)["hidden_size"] == best
    assert sizes(model)["between"] == formula(best)
    assert sizes(model)["stack"] == formula(best) - 2 * best * best - 2 * best
    if budget >= 200_000:
        assert abs(formula(best) - budget) <= 0.01 * budget


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", [Pooling, Additive, Dot, ScaledDot, General])
@pytest.mark.parametrize(
    "options", [{}, {"layers": 2}, {"bidirectional": True}, {"layers": 2, "bidirectional": True}]
)
def test_every_cell_and_readout_meets_the_budget(cell: Any, attention: Any, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = Encoder(TASK, cell, attention, parameters=1_000_000, **options)
        assert sizes(model)["between"] == pytest.approx(1_000_000, rel=0.01)
        check_nearest(model, 1_000_000, lambda h: Encoder(TASK, cell, attention, h, **options))
    head = model.head
    assert isinstance(head, nn.Linear)
    assert sizes(model)["total"] == sizes(model)["between"] + head.weight.numel() + head.bias.numel()


def check_nearest(model: SequenceModel, budget: int, build: Any, step: int = 1) -> None:
    own = abs(sizes(model)["between"] - budget)
    for other in (-step, step):
        assert abs(sizes(build(sizes(model)["hidden_size"] + other))["between"] - budget) >= own


@pytest.mark.parametrize(("heads", "bidirectional", "step"), [(2, False, 2), (4, False, 4), (4, True, 2)])
def test_heads_divide_the_states_of_a_budget(heads: int, bidirectional: bool, step: int) -> None:
    attention = partial(Additive, heads=heads)
    model = Encoder(TASK, GRU, attention, parameters=50_000, bidirectional=bidirectional)
    assert model.stack.output_size % heads == 0
    check_nearest(
        model, 50_000, lambda h: Encoder(TASK, GRU, attention, h, bidirectional=bidirectional), step
    )


@pytest.mark.parametrize("attention", [Pooling, Additive])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_decoder_is_part_of_the_budget(attention: Any, tied: bool, bidirectional: bool) -> None:
    task = TaskSpec(
        "transduction", "tokens", 11, 9, "exact_match", "max", target_vocabulary=tuple("012345678")
    )
    made = partial(
        Seq2Seq,
        task,
        LSTM,
        attention,
        Decoding(layers=2, tied=tied, input_feeding=True),
        embedding_size=20,
        bidirectional=bidirectional,
    )
    model = made(parameters=1_000_000)
    assert sizes(model)["between"] == pytest.approx(1_000_000, rel=0.01)
    check_nearest(model, 1_000_000, lambda h: made(hidden_size=h))
    # All but both embeddings and the last map.
    outside = model.embedding.weight.numel() + model.decoder.embedding.weight.numel()
    outside += model.decoder.output.bias.numel() + (0 if tied else model.decoder.output.weight.numel())
    assert sizes(model)["total"] - outside == sizes(model)["between"]


def test_a_budget_below_one_unit_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"model\.parameters=10 is below the 205 that one unit needs"):
        Encoder(TASK, GRU, Additive, parameters=10)
    with pytest.raises(ValueError, match="that 8 units need, the fewest that can be built"):
        Encoder(TASK, GRU, partial(Additive, heads=8), parameters=10)


def test_a_model_that_cannot_be_built_raises_its_own_error() -> None:
    with pytest.raises(ValueError, match="forget_bias and chrono"):
        hidden_size_for(1000, lambda h: [LSTM(3, h, forget_bias=1.0, chrono=9)])


def test_counting_does_not_change_the_random_state() -> None:
    torch.manual_seed(0)
    Encoder(TASK, GRU, ScaledDot, 12)
    expected = torch.rand(3)
    torch.manual_seed(0)
    model = Encoder(TASK, GRU, ScaledDot, parameters=sizes(Encoder(TASK, GRU, ScaledDot, 12))["between"])
    assert model.stack.hidden_size == 12
    torch.manual_seed(0)
    Encoder(TASK, GRU, ScaledDot, parameters=sizes(model)["between"])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("attention", ["none", "additive"])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_runs_of_one_budget_record_equal_sizes(small: Compose, name: str, attention: str) -> None:
    # A budget of the stack alone would not count the 2H² + 2H parameters of additive attention.
    cfg = small(f"model={name}", f"attention={attention}", "study.parameters=6000", "instruments=off")
    parameters = json.loads((run(cfg).directory / "run.json").read_text())["parameters"]
    assert parameters["between"] == pytest.approx(6000, rel=0.025)
    h = parameters["hidden_size"]
    assert parameters["between"] - parameters["stack"] == (
        2 * h * h + 2 * h if attention == "additive" else 0
    )
    assert parameters["total"] - parameters["between"] == h + 1
