"""Benchmarks of the way of the data, at sizes that take a second."""

from __future__ import annotations

import pytest
from benchmarks import bucketing, input_pipeline, predict_file, series_memory


def test_input_pipeline() -> None:
    (row,) = input_pipeline.measure(rounds=1, limit=200).rows
    assert row["ratio"] == row["seconds_over"] / row["seconds_under"]
    assert row["met"] == (row["ratio"] >= 5)


@pytest.mark.slow
def test_bucketing() -> None:
    on_torch, padding, native, _ = bucketing.measure(rounds=1, limit=2000).rows
    assert on_torch["met"] == (on_torch["ratio"] <= 0.8)
    assert "met" not in native
    assert 0 < padding["ratio"] < 1


@pytest.mark.slow
def test_predict_file() -> None:
    load, texts, rows = predict_file.measure(rounds=1, rows=2000).rows
    assert load["met"] == (load["ratio"] <= 2)
    assert texts["met"] == (texts["ratio"] <= 0.3)
    assert rows["ratio"] < rows["peak"]


@pytest.mark.slow
def test_series_memory() -> None:
    (row,) = series_memory.measure(megabytes=40).rows
    assert row["ratio"] == (row["peak"] - row["small_peak"]) / 40
    assert row["met"]
