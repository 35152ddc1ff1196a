"""Cells without a native kernel, from the configuration to every measurement."""

from __future__ import annotations

import json

import pytest
from cell_reference import NATIVE, configured
from conftest import Compose

from gatescope.run import run


@pytest.mark.parametrize("cell", [name for name in configured() if name not in NATIVE])
def test_a_cell_without_kernel_trains_and_is_measured_in_full(cell, small: Compose):
    result = run(small(f"model={cell}", "instruments=full", "model.layers=2", "model.bidirectional=true"))
    rows = (result.directory / "readings.jsonl").read_text().splitlines()
    last = {row["name"]: row for row in map(json.loads, rows)}
    assert last["gradient_flow/self_test"]["value"] < 1e-5
    assert last["gates/layer0/keep/mean"]["kind"] == "scalar"
    assert last["gates/layer0/timescale"]["kind"] == "points"
    assert last["jacobian/layer1_backward/frobenius"]["kind"] == "curve"
    assert last["lyapunov/layer0/spectrum"]["kind"] in ("curve", "undefined")
    assert "test/mse" in result.summary


def test_a_budget_of_parameters_finds_an_even_size_for_an_lru(small: Compose):
    result = run(small("model=lru", "model.parameters=500", "model.hidden_size=64", "instruments=off"))
    layer = result.module.model.stack.layers["layer0"]
    assert layer.hidden_size % 2 == 0
    assert sum(p.numel() for p in layer.parameters()) == pytest.approx(500, rel=0.02)
