"""Reference for the tests of cells: Python loops over `step`, differentiated by autograd through time."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.irnn import IRNN
from gatescope.cells.kernels.layer import NativeLayer
from gatescope.cells.layer import AnalyticLayer, RecurrentLayer
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.rnn import RNN
from gatescope.cells.state import State
from gatescope.cells.tensors import reverse_within
from gatescope.models.stack import CellFactory, RecurrentStack
from gatescope.sequences import valid_mask

MODELS = Path(__file__).parents[2] / "conf/model"


def configured() -> dict[str, CellFactory]:
    """Return a factory for every file of conf/model that names a cell: a new one is tested without a list."""
    configs = {path.stem: OmegaConf.load(path) for path in sorted(MODELS.glob("*.yaml"))}
    whole = {name: OmegaConf.merge({"kernel": "auto"}, cfg) for name, cfg in configs.items() if "cell" in cfg}
    return {name: instantiate(cfg.cell) for name, cfg in whole.items()}


CELLS: dict[str, CellFactory] = configured() | {
    # With the paper's input weights (0.001) the states would be too small to compare.
    "irnn": partial(IRNN, input_std=0.3, recurrent_scale=0.7),
    "rnn_relu": partial(RNN, nonlinearity="relu"),
    "rnn_orthogonal": partial(RNN, initialisation="orthogonal"),
    "gru_chrono": partial(GRU, chrono=20),
    "gru_article_xavier": partial(GRUArticle, initialisation="xavier"),
    "lstm_forget": partial(LSTM, forget_bias=1.0),
    "lstm_chrono": partial(LSTM, chrono=20),
    "mingru_sequential": partial(MinGRU, scan="sequential"),
    "minlstm_sequential": partial(MinLSTM, scan="sequential"),
}
"""Layer factories by name. Hidden sizes in tests are even, because an LRU's must be."""
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}

Steps = tuple[list[Tensor], list[Tensor]]


def layer_class(cell: str) -> type[Any]:
    """Return the class that a factory makes."""
    factory: Any = CELLS[cell]
    return factory if inspect.isclass(factory) else factory.func


NATIVE = [name for name in CELLS if issubclass(layer_class(name), NativeLayer)]
ANALYTIC = [name for name in CELLS if issubclass(layer_class(name), AnalyticLayer)]
WITH_KERNEL = [(name, "torch") for name in CELLS] + [(name, "native") for name in NATIVE]
"""Every cell on every kernel it has."""


def of_loop(layer: RecurrentLayer, x: Tensor, lengths: Tensor, initial: State) -> Tensor:
    """Return the hidden states (B, T, H) of a loop over `step`, 0 at padding."""
    state, states = initial, []
    for t in range(x.shape[1]):
        state = layer.step(x[:, t], state)
        states.append(state.h)
    padding = torch.arange(x.shape[1], device=lengths.device) >= lengths[:, None]
    return torch.stack(states, dim=1).masked_fill(padding[..., None], 0)


def loop(layer: RecurrentLayer, x: Tensor) -> Steps:
    """Return h_t and c_t of every step, (B, H) each, whose gradients will be retained."""
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


def loop_stack(stack: RecurrentStack, x: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, Steps]]:
    """Return the stack's output (B, T, S) and the steps of every layer, in the layer's own time."""
    padding = ~valid_mask(lengths, x.shape[1])[..., None]
    steps: dict[str, Steps] = {}
    for depth in range(stack.depth):
        outputs = []
        for name in (n for n in stack.layers if n.startswith(f"layer{depth}")):
            backward = name.endswith("backward")
            steps[name] = loop(stack.layers[name], reverse_within(x, lengths) if backward else x)
            h = torch.stack(steps[name][0], dim=1).masked_fill(padding, 0)
            outputs.append(reverse_within(h, lengths) if backward else h)
        x = torch.cat(outputs, dim=-1)
    return x, steps


def gradients(steps: list[Tensor]) -> Tensor:
    """Return the gradient that autograd retained at each step, (B, T, H)."""
    return torch.stack([torch.zeros_like(v) if v.grad is None else v.grad for v in steps], dim=1)


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Return the largest deviation over the largest expected value."""
    scale = expected.detach().abs().max().clamp_min(1e-30)
    return float((value.detach() - expected.detach()).abs().max() / scale)
