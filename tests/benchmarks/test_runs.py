"""Benchmarks of steps, runs and sweeps, at sizes that take a second."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import run_cost, step_overhead, sweeps


def test_step_overhead() -> None:
    result = step_overhead.measure(rounds=1, steps=2)
    assert [row["measure"] for row in result.rows] == ["default", "off"]
    assert all(row["ratio"] > 0 for row in result.rows)


def test_run_cost() -> None:
    (row,) = run_cost.measure(rounds=1).rows
    assert 0 < row["compose"] < row["ratio"]
    assert row["met"] == (row["ratio"] <= 0.5)


def test_a_sweep_of_finished_runs_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "RUNS", 3)
    sweeps.write_finished_runs(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert len(list(tmp_path.rglob("run.json"))) == 3
    assert sweeps.finished_sweep(tmp_path) > 0
    assert sorted(tmp_path.rglob("*")) == before  # none was run
