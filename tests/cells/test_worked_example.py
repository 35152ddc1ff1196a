"""The worked example of `gatescope.cells` as it is written there: a cell by two methods."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import torch
from cell_reference import TOLERANCE, gradients, loop_stack, relative_error
from conftest import FAST, ROOT, SMALL
from hydra import compose, initialize_config_dir

import gatescope.cells
from gatescope.models.stack import RecurrentStack
from gatescope.run import run


def example() -> tuple[str, str]:
    """Return the two indented blocks of the docstring: the module and its config."""
    blocks, block = [], []
    for line in [*gatescope.cells.__doc__.splitlines(), "end"]:
        if line.startswith("    ") or (block and not line):
            block.append(line)
        elif block:
            blocks.append(textwrap.dedent("\n".join(block)))
            block = []
    module, config = blocks
    return module, config


@pytest.fixture
def sru():
    namespace: dict[str, object] = {}
    exec(example()[0], namespace)
    return namespace["SRU"]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("renormalise", [False, True])
def test_two_layers_in_two_directions_equal_autograd(sru, dtype, renormalise):
    torch.manual_seed(0)
    stack = RecurrentStack(sru, 3, 5, layers=2, bidirectional=True).to(dtype)
    lengths = torch.tensor([21, 4, 1, 17])
    x = torch.randn(4, 21, 3, dtype=dtype, requires_grad=True)
    output, steps = loop_stack(stack, x, lengths)
    weight = torch.randn_like(output)
    (output * weight).sum().backward()
    expected = [p.grad.clone() for p in (x, *stack.parameters())]
    found, traces = stack.trace(x.detach(), lengths)
    assert relative_error(found, output) < TOLERANCE[dtype]
    adjoints = stack.adjoint(traces, weight, renormalise=renormalise)
    for name, (h, c) in steps.items():
        scale = adjoints[name].log_scale.exp()[..., None].to(dtype)
        assert relative_error(adjoints[name].h * scale, gradients(h)) < TOLERANCE[dtype]
        assert relative_error(adjoints[name].c * scale, gradients(c)) < TOLERANCE[dtype]
    ours = torch.autograd.grad((stack(x, lengths) * weight).sum(), [x, *stack.parameters()])
    for value, truth in zip(ours, expected, strict=True):
        assert relative_error(value, truth) < TOLERANCE[dtype]


def test_the_example_trains_and_is_measured_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module, config = example()
    (tmp_path / "sru_example.py").write_text(module)
    (tmp_path / "conf/model").mkdir(parents=True)
    config = config.replace("gatescope.cells.sru", "sru_example")
    (tmp_path / "conf/model/sru.yaml").write_text(config)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = f"hydra.searchpath=[file://{tmp_path}/conf]"
    overrides = (f"root={tmp_path}/runs", path, *SMALL, *FAST, "model=sru", "instruments=full")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*overrides, "model.layers=2", "model.bidirectional=true"])
    rows = (run(cfg).directory / "readings.jsonl").read_text().splitlines()
    last = {row["name"]: row for row in map(json.loads, rows)}
    assert last["gradient_flow/self_test"]["value"] < 1e-5
    assert last["gates/layer1_backward/reset/mean"]["kind"] == "scalar"
    assert last["jacobian/layer0/frobenius"]["kind"] == "curve"
    assert last["training_signal/layer0/dead_share"]["kind"] == "scalar"
