"""The benchmarks of a GPU, at small sizes on the CPU, and the forms of the adjoint that they compare."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks import (
    gpu_adjoint,
    gpu_predict,
    gpu_recurrence,
    gpu_report,
    gpu_result,
    gpu_shared,
    gpu_step,
    gpu_timing,
    report,
)
from benchmarks.gpu_result import Case, GPUResult, NotAvailable, run_cases
from benchmarks.setting import Size

from gatescope.cells.kernels.build import available
from gatescope.cells.scan import scan_sequential
from gatescope.cells.state import State

TINY = Size(steps=6, batch=4, inputs=3, hidden=5)
LONGER = Size(steps=37, batch=3, inputs=2, hidden=4)
FAST = ("trainer.threads=1",)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gpu_timing, "SECONDS", 0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def inputs(size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    x = torch.randn(size.batch, size.steps, size.inputs, dtype=torch.float64)
    return x, torch.randn(size.batch, size.steps, size.hidden, dtype=torch.float64)


def by_autograd(cell: str, size: Size, x: torch.Tensor, output_grad: torch.Tensor) -> State:
    """Through a loop of the layer's own equations, `step`."""
    layer, states = gpu_recurrence.layer_of(cell, size, x), []
    state = State(*(v if v is None else v.requires_grad_() for v in layer.zero_state(x)))
    for x_t in x.unbind(1):
        state = layer.step(x_t, state)
        for part in state:
            if part is not None:
                part.retain_grad()
        states.append(state)
    (torch.stack([s.h for s in states], 1) * output_grad).sum().backward()
    c = None if state.c is None else torch.stack([s.c.grad for s in states], 1)
    return State(torch.stack([s.h.grad for s in states], 1), c)


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("form", gpu_adjoint.FORMS)
def test_every_form_gives_the_gradients_of_autograd(form: str, cell: str, renormalise: bool) -> None:
    if form == "native" and not available():
        pytest.skip("no C++ compiler")
    x, output_grad = inputs(LONGER)
    if form == "identity" and renormalise:
        with pytest.raises(NotAvailable, match="cannot renormalise"):
            gpu_adjoint.FORMS[form](cell, LONGER, x, renormalise)
        return
    found = gpu_adjoint.FORMS[form](cell, LONGER, x, renormalise)(x, output_grad)
    expected = by_autograd(cell, LONGER, x, output_grad)
    assert (found.state.c is None) == (cell == "gru")
    for ours, theirs in zip(found.state, expected, strict=True):
        if ours is not None:
            scaled = ours * found.log_scale.exp()[..., None]
            torch.testing.assert_close(scaled, theirs, rtol=1e-10, atol=1e-10)
    assert bool((found.log_scale != 0).any()) == renormalise


def test_a_captured_form_reads_new_inputs_at_each_call() -> None:
    x, output_grad = inputs(TINY)
    form = gpu_adjoint.CapturedRecursion("lstm", TINY, x, renormalise=False)
    form(x, output_grad)
    found = form(2 * x, -output_grad)
    expected = gpu_adjoint.by_recursion("lstm", TINY, x, renormalise=False)(2 * x, -output_grad)
    assert gpu_adjoint.worst_error(found, expected) < 1e-12


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 37])
def test_the_scan_in_few_operations_is_that_step_by_step(steps: int) -> None:
    keep, written = torch.rand(2, 3, steps, 4, dtype=torch.float64)
    expected = scan_sequential(keep, written, torch.zeros(3, 4, dtype=torch.float64))
    torch.testing.assert_close(gpu_adjoint.scan(keep, written), expected)


def test_the_time_of_layers(tmp_path: Path) -> None:
    result = gpu_recurrence.measure("cpu", 60, tmp_path, cells=("gru", "rglru"), sizes=(TINY,))
    measured = [row["measure"] for row in result.rows if row["precision"] == "float32"]
    native = ["native over torch"] if available() else []
    assert measured == ["nn", "torch over nn", *native, "torch"]
    assert {row["precision"] for row in result.rows} == set(gpu_recurrence.PRECISIONS)
    assert all(row["low_ms"] <= row["ms"] <= row["high_ms"] and row["calls"] >= 3 for row in result.rows)
    assert not result.failed
    assert "no native kernel" in result.left_out["rglru, T=6 B=4 D=3 H=5, bf16, native"]
    section = json.loads((tmp_path / "gpu_cpu.json").read_text())["sections"]["gpu_recurrence"]
    assert section["rows"] == result.rows


def test_the_time_of_adjoints(tmp_path: Path) -> None:
    result = gpu_adjoint.measure("cpu", 60, tmp_path, cells=("lstm",), sizes=(TINY,))
    forms = {row["measure"] for row in result.rows if not row["renormalised"]}
    assert forms >= {"recursion", "graph", "identity"}
    assert all(row["worst_error"] < 1e-5 and row["ratio"] > 0 for row in result.rows)
    assert not result.failed


def test_the_time_of_steps(tmp_path: Path) -> None:
    given = {"cells": ("gru",), "sizes": (TINY,), "overrides": FAST, "window": (1, 3)}
    result = gpu_step.measure("cpu", 60, tmp_path, **given)
    assert not result.failed
    measured = [row["measure"] for row in result.rows if row["kernel"] == "torch"]
    assert measured == [gpu_step.OFF, gpu_step.DEFAULT]
    assert all(row["ms"] > 0 and row["met"] in (True, False) for row in result.rows)


def test_the_window_contains_one_measurement_of_the_default_instruments() -> None:
    first, last = gpu_step.WINDOW
    cfg = gpu_step.config(TINY, gpu_step.WINDOW, "instruments=default")
    every = cfg.instruments.every_n_steps
    assert [step for step in range(first + 1, last + 1) if step % every == 0] == [every]
    assert cfg.data.train == TINY.batch * (last + 1)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [None, ("data=tweets", "data.limit=60")])
def test_the_rate_of_predictions(overrides: tuple[str, ...] | None, tmp_path: Path) -> None:
    result = gpu_predict.measure("cpu", 60, tmp_path, overrides=overrides, batches=(1, 3), hidden=(4,))
    assert not result.failed
    assert [row["batch"] for row in result.rows] == [1, 3]
    assert all(row["per_second"] > 0 and row["per_second_cpu"] > 0 for row in result.rows)


@pytest.mark.slow
def test_the_time_of_a_study(tmp_path: Path) -> None:
    result = gpu_shared.measure("cpu", 300, tmp_path)
    assert not result.failed
    assert [row["runs"] for row in result.rows] == [2, 2]
    assert result.rows[1]["measure"] == "one after another over 2 at a time"


def test_a_study_that_does_not_fit_is_ended(tmp_path: Path) -> None:
    result = gpu_shared.measure("cpu", 1, tmp_path)
    assert "no time was left after 0 runs" in result.failed["one after another"]
    assert not result.rows


def test_timings_do_not_contain_the_first_calls() -> None:
    called: list[float] = []
    timing = gpu_timing.timed(lambda: (time.sleep(0 if called else 0.05), called.append(0)), CPU)
    assert timing.first >= 0.05 > timing.high
    assert len(called) == timing.calls + 2


def test_on_a_gpu_times_are_those_between_events(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            called.append("record")

        def elapsed_time(self, end: Event) -> float:
            return 250.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: called.append("wait"))
    timing = gpu_timing.timed(lambda: called.append("call"), torch.device("cuda"))
    assert (timing.low, timing.median, timing.high, timing.calls) == (0.25, 0.25, 0.25, 3)
    warm_up, measured = ["wait", "call", "wait"], ["record", "call", "record"]
    assert called == [*2 * warm_up, "wait", *3 * measured, "wait"]


def test_tf32_is_restored() -> None:
    before = torch.get_float32_matmul_precision()
    with gpu_timing.tf32(True):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def failing() -> None:
    raise RuntimeError("CUDA error: an illegal memory access\nmore lines")


def test_a_case_that_fails_does_not_stop_the_next_one(tmp_path: Path) -> None:
    result = GPUResult("x", "?", {}, device="cpu")
    cases = [Case("a", failing), Case("b", lambda: result.add_value("b", "m", 1.0))]
    run_cases(result, cases, tmp_path)
    (section,) = json.loads((tmp_path / "gpu_cpu.json").read_text())["sections"].values()
    assert section["failed"] == {"a": "RuntimeError: CUDA error: an illegal memory access"}
    assert [row["case"] for row in section["rows"]] == ["b"]


def test_cases_are_left_out_when_the_budget_is_spent(tmp_path: Path) -> None:
    result = GPUResult("x", "?", {}, device="cpu", seconds=0.01)
    run_cases(result, [Case("a", lambda: time.sleep(0.02)), Case("b", failing)], tmp_path)
    assert result.left_out == {"b": "no time left"}
    assert not result.failed


def test_a_new_process_goes_on_with_the_next_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = GPUResult("x", "?", {}, device="cpu")
    cases = [Case("a", lambda: first.add_value("a", "m", 1.0)), Case("b", failing), Case("c", failing)]
    started: list[list[str]] = []
    monkeypatch.setattr(gpu_result, "_unusable", lambda device: True)
    monkeypatch.setattr(os, "execv", lambda path, words: started.append(words))
    run_cases(first, cases, tmp_path)
    assert started == [[sys.executable, *sys.orig_argv[1:], "--after", "2"]]
    second = GPUResult("x", "?", {}, device="cpu")
    cases[2] = Case("c", lambda: second.add_value("c", "m", 1.0))
    run_cases(second, cases, tmp_path, after=2)
    assert [row["case"] for row in second.rows] == ["a", "c"]
    assert list(second.failed) == ["b"]


def test_a_case_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restarted: list[int] = []
    monkeypatch.setattr(gpu_result, "_restart", lambda result, after, or_end: restarted.append(after))
    monkeypatch.setattr(GPUResult, "write", lambda self, folder: folder)
    result = GPUResult("x", "?", {}, device="cuda", longest_case=0.01)
    with gpu_result._watched(result, Case("a", failing), tmp_path, 1):
        time.sleep(0.2)
    assert restarted == [1]
    assert "did not end" in result.failed["a"]


def test_sections_of_one_card_are_in_one_file(tmp_path: Path) -> None:
    for name in ("x", "y"):
        run_cases(GPUResult(name, "?", {}, device="cpu"), [], tmp_path)
    (path,) = tmp_path.iterdir()
    assert list(json.loads(path.read_text())["sections"]) == ["x", "y"]


def test_a_card_has_a_file_name() -> None:
    assert gpu_result.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("benchmark", [gpu_recurrence, gpu_step, gpu_adjoint, gpu_shared, gpu_predict])
def test_without_a_gpu_the_message_says_what_to_do(benchmark, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--device cpu"):
        benchmark.measure(out=tmp_path)


def test_the_report_has_a_section_for_each_card(tmp_path: Path) -> None:
    results = tmp_path / "results"
    gpu_recurrence.measure("cpu", 60, results, cells=("gru", "mingru"), sizes=(TINY,))
    gpu_adjoint.measure("cpu", 60, results, cells=("gru",), sizes=(TINY,))
    step = GPUResult("gpu_step", "how fast", {}, gpu_step.TARGETS, device="cpu")
    shape = {"cell": "gru", "kernel": "torch", "steps": 6, "batch": 4, "inputs": 3, "hidden": 5}
    step.add_value("gru", gpu_step.OFF, 1.25, **shape, ms=2.5, bare_ms=2.0)
    step.add_value("gru", gpu_step.DEFAULT, 1.0, **shape, ms=2.5, off_ms=2.5)
    step.failed["lstm"] = "RuntimeError: out of memory"
    step.write(results)
    predict = GPUResult("gpu_predict", "how many", {}, device="cpu")
    predict.add_value("gru, H=64", "batch of 64", 3.0, per_second=3e4, per_second_cpu=1e4)
    predict.write(results)
    text = report.write(results, tmp_path / "out").read_text(encoding="utf-8")
    assert "1 of 2 targets are met. Not met:\n\n- gru: off over bare 1.25; target <= 1.05" in text
    assert "| GRU | 6, 4, 3, 5 | torch | 2.00 | 2.50 | 2.50 | 1.25 | <= 1.05 NOT met |" in text
    assert "- RuntimeError: out of memory: lstm" in text
    assert "| GRU | 6, 4, 3, 5 | bf16 |" in text
    assert "cannot renormalise" in text
    assert all(f"### {gpu_report.TITLES[name]}" in text for name in ("gpu_adjoint", "gpu_predict"))
    assert (tmp_path / "out" / "performance" / "gpu_cpu.png").exists()


def test_without_a_card_the_report_has_no_section(tmp_path: Path) -> None:
    assert gpu_report.sections(tmp_path, tmp_path / "out") == []
    assert not (tmp_path / "out").exists()
