"""Initial weights, parameter counts on the meta device, and a layer from every file of conf/model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from cell_reference import CELLS
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.irnn import IRNN
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.peephole_lstm import PeepholeLSTM
from gatescope.cells.rnn import RNN

RECURRENT = (RNN, GRU, GRUArticle, LSTM, PeepholeLSTM)
MODELS = [
    p
    for p in sorted((Path(__file__).parents[2] / "conf/model").glob("*.yaml"))
    if "cell" in OmegaConf.load(p)
]


@pytest.mark.parametrize("cell", RECURRENT)
def test_orthogonal_blocks_preserve_every_norm(cell):
    layer = cell(3, 6, initialisation="orthogonal").double()
    for block in layer.recurrent_weights.chunk(len(layer.chunk_names)):
        torch.testing.assert_close(block.T @ block, torch.eye(6, dtype=torch.float64), atol=1e-6, rtol=0)
    assert not any(bool(p.any()) for name, p in layer.named_parameters() if "bias" in name)


@pytest.mark.parametrize("cell", [*RECURRENT, MinGRU, MinLSTM])
def test_xavier_bounds_follow_each_block_not_the_stacked_matrix(cell):
    torch.manual_seed(0)
    layer = cell(40, 60, initialisation="xavier")
    bound = math.sqrt(6 / (40 + 60))
    for block in layer.input_weights.detach().chunk(len(layer.chunk_names)):
        assert 0.95 * bound < float(block.abs().max()) <= bound


def test_the_forget_bias_is_the_sum_of_torchs_two():
    layer = LSTM(3, 5, forget_bias=2.0)
    x = torch.zeros(1, 1, 3)
    forget = layer.gates(x, layer(x))["forget"]
    torch.testing.assert_close(forget, torch.full_like(forget, 1 / (1 + math.exp(-2))))


@pytest.mark.parametrize("cell", [LSTM, GRU, GRUArticle])
def test_chrono_timescales_reach_the_longest_dependency(cell):
    torch.manual_seed(0)
    longest = 100
    layer = cell(3, 400, chrono=longest)
    x = torch.zeros(1, 1, 3)
    timescale = 1 / (1 - layer.gates(x, layer(x))["keep"][0, 0].detach())
    # 1/(1 - σ(ln u)) = 1 + u with u uniform on [1, T_max - 1].
    assert 2 <= float(timescale.min()) < 4
    assert longest - 4 < float(timescale.max()) <= longest + 1e-2
    assert float(timescale.mean()) == pytest.approx(1 + longest / 2, rel=0.1)


def test_chrono_opens_the_input_gate_as_far_as_the_forget_gate_is_shut():
    layer = LSTM(3, 5, chrono=50)
    x = torch.zeros(1, 1, 3)
    gates = layer.gates(x, layer(x))
    torch.testing.assert_close(gates["input"], 1 - gates["forget"])


def test_two_starts_of_one_bias_are_refused():
    with pytest.raises(ValueError, match="forget_bias and chrono"):
        LSTM(3, 5, forget_bias=1.0, chrono=50)


def test_irnn_starts_as_the_identity():
    layer = IRNN(3, 5)
    assert torch.equal(layer.recurrent_weights, torch.eye(5))
    assert not bool(layer.weights[2].any() or layer.weights[3].any())


def count(cell):
    with torch.device("meta"):
        return sum(p.numel() for p in cell(7, 12).parameters())


@pytest.mark.parametrize(("name", "blocks"), [("rnn", 1), ("irnn", 1), ("gru", 3), ("lstm", 4)])
def test_parameters_follow_the_formula_on_the_meta_device(name, blocks):
    assert count(CELLS[name]) == blocks * (12 * 12 + 12 * 7 + 2 * 12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_meta_device_counts_what_the_real_one_holds(cell):
    assert count(CELLS[cell]) == sum(p.numel() for p in CELLS[cell](7, 12).parameters())


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_model_file_builds_a_cell_that_runs(path):
    torch.manual_seed(0)
    whole = OmegaConf.merge({"kernel": "auto"}, OmegaConf.load(path))
    layer = instantiate(whole.cell)(3, 4)
    h = layer(torch.randn(2, 5, 3), torch.tensor([5, 2])).h
    assert h.shape == (2, 5, 4)
    assert bool(torch.isfinite(h).all())
    assert bool(h.any()) or path.stem == "irnn"
