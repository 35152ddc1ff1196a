"""Every benchmark runs at a tiny size, and the loop gives the readings that our probe gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import (
    adjoint_cost,
    instruments_overhead,
    loop,
    peak_memory,
    probe_vs_loop,
    report_scale,
    watch_cost,
)
from benchmarks.__main__ import main
from benchmarks.result import Result, Target
from benchmarks.setting import CELLS, Size, loss, make
from benchmarks.timing import interleaved, ratio

from gatescope.instruments.measurements import Curve, Histogram, Measurement, Points, Scalar

ROOT = Path(__file__).parents[2]
TINY = Size(steps=6, batch=4, inputs=3, hidden=5)


def columns(measurement: Measurement) -> dict[str, list[float]]:
    match measurement:
        case Scalar(value):
            return {"value": [value]}
        case Curve():
            return {
                "x": measurement.x,
                "y": measurement.y,
                "low": measurement.low or [],
                "high": measurement.high or [],
            }
        case Histogram():
            return {"edges": measurement.edges}
        case Points():
            return measurement.columns
    return {}


@pytest.mark.parametrize("form", ["usual", "careful"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_gives_the_same_measurements(cell: str, layers: int, form: loop.Form) -> None:
    size = Size(12, 6, 3, 5, layers)
    model, batch = make(cell, size)
    ours = probe_vs_loop.measurements(model, batch)
    theirs = loop.read(cell, make(cell, size)[0], batch, loss, form)
    assert ours.keys() == theirs.keys()
    for name, measurement in ours.items():
        assert type(measurement) is type(theirs[name]), name
        expected = columns(theirs[name])
        for column, values in columns(measurement).items():
            assert values == pytest.approx(expected[column], rel=2e-3, abs=1e-5), f"{name} {column}"


@pytest.mark.parametrize("form", ["usual", "careful"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_gives_the_same_states_gates_and_gradients(cell: str, form: loop.Form) -> None:
    model, batch = make(cell, Size(12, 6, 3, 5, 2))
    ours = probe_vs_loop.traces(model, batch)
    theirs, _ = loop.probe_by_loop(cell, make(cell, Size(12, 6, 3, 5, 2))[0], batch, loss, form)
    for name, layer in ours.layers.items():
        torch.testing.assert_close(theirs.layers[name].states.h, layer.states.h)
        torch.testing.assert_close(theirs.gates[name], ours.gates[name])
        for part in ("h", "c"):
            found, expected = getattr(ours.adjoints[name], part), getattr(theirs.adjoints[name], part)
            assert (found is None) == (expected is None)
            if found is not None:
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", [adjoint_cost, probe_vs_loop])
def test_a_benchmark_of_cells(benchmark, tmp_path: Path) -> None:
    result = benchmark.measure(rounds=2, size=TINY, cells=("lstm",))
    assert {row["case"] for row in result.rows} == {"lstm"}
    assert all(row["ratio"] > 0 and row["rounds"] == 2 for row in result.rows)
    written = json.loads(result.write(tmp_path).read_text())
    assert written["machine"]["cores"] >= 1
    assert len(written["rows"]) == len(result.rows)
    assert all(row["measure"] in result.table() for row in written["rows"])


@pytest.mark.slow
def test_peak_memory_of_a_new_process() -> None:
    result = peak_memory.measure(size=TINY, cells=("gru",))
    assert [row["measure"] for row in result.rows] == ["traces", "readings"]
    assert all(row["megabytes_loop"] >= 0 and row["megabytes_ours"] >= 0 for row in result.rows)


def test_instruments_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments_overhead, "VARIANTS", ("off", "default"))
    small = ("data=adding", "data.steps=5", "data.train=32", "data.validation=32", "data.test=8")
    options = (*small, "model.hidden_size=4", "trainer.log_every_n_steps=1", "tracking=off")
    result = instruments_overhead.measure(rounds=1, overrides=options)
    assert [row["measure"] for row in result.rows] == ["default, wall", "default, cpu"]
    assert all(row["seconds_over"] > 0 for row in result.rows)


@pytest.mark.slow
def test_watch_cost() -> None:
    result = watch_cost.measure(rounds=1, batch=2, steps=3)
    assert {row["measure"] for row in result.rows} == {"recorded", watch_cost.READ, watch_cost.MEAN}
    assert all(row["ratio"] > 0 for row in result.rows)


@pytest.mark.slow
def test_pairs_alternate_their_order() -> None:
    called: list[str] = []
    ways = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    seconds = interleaved(ways, rounds=3, warm_up=1)
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert [len(s) for s in seconds.values()] == [3, 3]


def test_each_of_several_benchmarks_runs_in_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command[1:])
        return subprocess.CompletedProcess(command, 0 if len(asked) < 2 else 3)

    monkeypatch.setattr(sys, "argv", ["benchmarks", "sweeps", "run_cost", "bucketing", "--rounds", "2"])
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match="3"):
        main()
    assert asked == [["-m", "benchmarks", name, "--rounds", "2"] for name in ("sweeps", "run_cost")]


@pytest.mark.slow
def test_consecutive_calls_follow_one_that_is_not_timed() -> None:
    called: list[str] = []
    ways = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    seconds = interleaved(ways, rounds=2, warm_up=0, in_a_row=2)
    assert "".join(called) == "aaabbb" + "bbbaaa"
    assert [len(s) for s in seconds.values()] == [4, 4]


def test_the_ratio_is_that_of_pairs() -> None:
    found = ratio(np.array([1.0, 20.0, 3.0]), np.array([1.0, 10.0, 1.0]))
    assert (found.low, found.median, found.high) == (1.5, 2.0, 2.5)
    assert (found.seconds_over, found.seconds_under, found.rounds) == (3.0, 1.0, 3)


def test_targets_are_compared_with_the_ratio() -> None:
    result = Result("x", "?", {}, {"speed": Target(at_least=1.5)})
    result.add_value("gru", "speed", 1.4)
    result.add_value("gru", "other", 1.4)
    assert result.rows[0]["met"] is False
    assert "met" not in result.rows[1]


def test_an_unknown_benchmark_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no benchmark named nothing" in done.stderr


@pytest.mark.slow
def test_report_scale() -> None:
    result = report_scale.measure(counts=(10,), rows=200, figures=("learning_curves",))
    assert [row["measure"] for row in result.rows] == ["tables", "seconds", "memory", "page", "growth"]
    assert all(row["ratio"] > 0 for row in result.rows)
