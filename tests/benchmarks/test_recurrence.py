"""Benchmarks of the native kernel beside what a user would have instead, at sizes that take a second."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from benchmarks import (
    article_example,
    one_core,
    recurrence_memory,
    recurrence_scaling,
    recurrence_speed,
    report,
)
from benchmarks.result import Result
from benchmarks.setting import Size

from gatescope.cells.kernels.build import available

TINY = Size(steps=6, batch=4, inputs=3, hidden=5)
needs_kernel = pytest.mark.skipif(not available(), reason="no C++ compiler")
needs_jax = pytest.mark.skipif(not one_core.has_jax(), reason="no extra bench")


@pytest.mark.slow
@needs_kernel
@needs_jax
def test_recurrence_speed() -> None:
    """The process that is timed compares the scan's gradients with the kernel's by itself."""
    result = recurrence_speed.measure(rounds=1, sizes=(TINY,), cells=("gru", "mingru"))
    named = [(row["case"].split(",")[0], row["measure"]) for row in result.rows]
    assert named == [
        ("gru", "native"),
        ("gru", "nn"),
        ("gru", "JAX scan"),
        ("gru", "Keras + JAX"),
        ("gru", "native over nn, H=5"),
        ("gru", "JAX scan over native, gru"),
        ("gru", "gates and adjoint"),
        ("mingru", "native"),
        ("mingru", "log scan"),
        ("mingru", "sequential scan"),
        ("mingru", "gates and adjoint"),
    ]
    assert all(row["ratio"] > 0 for row in result.rows)
    assert all(0 < row["of_product"] < 1 for row in result.rows if "ms" in row)
    assert next(r for r in result.rows if r["measure"].startswith("JAX scan over"))["target"] == ">= 1.2"


def test_operations_are_those_of_the_matrix_products() -> None:
    # A GRU: 3 products of (B, D) by (D, H) and 3 of (B, H) by (H, H) a step, and each twice more backwards.
    assert recurrence_speed.operations("gru", TINY) == 3 * 6 * 3 * 2 * (4 * 3 * 5 + 4 * 5 * 5)
    assert recurrence_speed.operations("minlstm", TINY) == 3 * 6 * 3 * 2 * (4 * 3 * 5)


def test_every_size_has_a_target() -> None:
    for size in recurrence_speed.SIZES:
        assert f"native over nn, H={size.hidden}" in recurrence_speed.TARGETS


@needs_kernel
@pytest.mark.slow
def test_recurrence_scaling() -> None:
    small = {"steps": (2, 3), "batch": (2,)}
    result = recurrence_scaling.measure(rounds=1, growth=small, threaded=(TINY,))
    cases = [row["case"] for row in result.rows]
    assert cases[:3] == ["gru, T=2", "gru, T=3", "gru, B=2"]
    assert len(cases) == (5 if one_core.cores() > 1 else 3)
    assert all(row["ratio"] > 0 for row in result.rows)


@needs_kernel
@pytest.mark.slow
def test_recurrence_memory() -> None:
    (row,) = recurrence_memory.measure(size=TINY, cells=("gru",)).rows
    assert row["measure"] == "peak"
    assert row["megabytes_native"] >= 0


@needs_jax
@pytest.mark.slow
def test_article_example() -> None:
    result = article_example.measure(rounds=1, steps=(4,), train=64, epochs=1, ways=("ours",))
    ways = ["ours", "Keras + JAX"]
    assert [row["measure"] for row in result.rows] == [
        *ways,
        "Keras + JAX over ours",
        "Keras + JAX over ours, cpu",
    ]
    assert all(row["per_second"] > 0 for row in result.rows[:2])
    assert result.rows[2]["met"] == (result.rows[2]["ratio"] >= 1)


def test_a_missing_extra_is_reported_in_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    one_core.warn_without_jax()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Of a speed and a memory measurement, without measuring."""
    speed = Result("recurrence_speed", "how fast", {"sizes": [asdict(TINY)]}, recurrence_speed.TARGETS)
    seconds = {"native": 1.0, "nn": 2.0, "JAX scan": 1.5, "Keras + JAX": 1.6, "product": 0.1}
    for cell in ("gru", "mingru"):
        taken = {way: np.full(2, value) for way, value in (seconds | {"gates and adjoint": 0.5}).items()}
        recurrence_speed.add(speed, cell, TINY, taken)
    memory = Result("recurrence_memory", "how much", {}, recurrence_memory.TARGETS)
    memory.add_value("gru", "peak", 1.25, megabytes_native=125.0, megabytes_nn=100.0)
    for result in (speed, memory):
        result.write(tmp_path / "results")
    return tmp_path / "results"


def test_the_report_contains_tables_and_figures(results: Path, tmp_path: Path) -> None:
    text = report.write(results, tmp_path / "out").read_text(encoding="utf-8")
    assert "1 of 2 targets are met. Not met:\n\n- gru: peak 1.25; target <= 1" in text
    (gru,) = [line for line in text.splitlines() if line.startswith("| GRU |")]
    assert gru.split(" | ")[1:6] == ["6, 4, 3, 5", "1,000", "2,000", "1,500", "1,600"]
    assert ">= 1.2 met" in gru
    assert "| gru | peak | 125 | 100 | 1.25 | <= 1 | no |" in text
    assert "python -m benchmarks recurrence_speed recurrence_memory\n" in text
    assert {p.name for p in (tmp_path / "out" / "performance").iterdir()} == {
        "README.md",
        "recurrence_speed.png",
        "recurrence_speed.svg",
        "summary.json",
    }
    index = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "1 of 2 targets are met. |" in index


def test_the_report_of_scaling_has_a_figure(tmp_path: Path) -> None:
    growth = Result("recurrence_scaling", "how it grows", {})
    for letter in "TBH":
        for value in (2, 8):
            growth.add_value(f"gru, {letter}={value}", letter, 0.5, ms=float(value), nn_ms=2.0 * value)
    growth.write(tmp_path)
    report.write(tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "performance" / "recurrence_scaling.svg").exists()


def test_a_report_without_results_raises_no_results(tmp_path: Path) -> None:
    with pytest.raises(report.NoResults, match="has no result: python -m benchmarks recurrence_speed"):
        report.write(tmp_path, tmp_path / "out")
