"""The kernels of a GPU against loops over `step` and torch's recursion; without a GPU, in the interpreter."""

from __future__ import annotations

import pytest
import torch
from cell_reference import CELLS, TOLERANCE, of_loop, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

from gatescope.cells import minimal, recursion, scan
from gatescope.cells.kernels import backends, layer
from gatescope.cells.kernels.gpu import plan as plans
from gatescope.cells.kernels.gpu import recurrence
from gatescope.cells.kernels.gpu.scan import Scan
from gatescope.cells.kernels.gpu.scan import scan as run_scan
from gatescope.cells.kernels.layer import NativeLayer, kernel_of
from gatescope.cells.state import State
from gatescope.run import run

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KINDS = ["rnn", "rnn_relu", "irnn", "gru", "gru_article", "lstm", "peephole_lstm"]
DIAGONAL = ["mingru", "minlstm", "rglru"]


@pytest.fixture(autouse=True)
def on_any_device(monkeypatch):
    """Let layers with kernel=native, and linear recurrences, run on the kernels of a GPU on this device."""
    monkeypatch.setattr(layer, "backend", _backend)
    for module in (scan, minimal, recursion):
        monkeypatch.setattr(module, "has_kernel", lambda device: True)


def _backend(kernel, kind, hidden, dtype, device, reading=False):
    return backends.triton_backend() if kernel == "native" and kind in plans.KINDS else None


def make(cell: str, inputs: int, units: int, dtype: torch.dtype = torch.float64, kernel: str = "native"):
    made = CELLS[cell](inputs, units).to(DEVICE, dtype)
    if isinstance(made, NativeLayer):
        made.kernel = kernel
    return made


def randn(*shape: int, dtype: torch.dtype = torch.float64, requires_grad: bool = False) -> Tensor:
    return torch.randn(*shape, dtype=dtype).to(DEVICE).requires_grad_(requires_grad)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", KINDS)
@settings(deadline=None, max_examples=2)
@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3), units=st.integers(1, 16))
def test_values_and_all_gradients_equal_the_loop(cell, dtype, lengths, units):
    torch.manual_seed(len(lengths))
    layer, lengths = make(cell, 3, units, dtype), torch.tensor(lengths, device=DEVICE)
    x = randn(len(lengths), int(lengths.max()), 3, dtype=dtype, requires_grad=True)
    start = [randn(len(lengths), units, dtype=dtype, requires_grad=True) for _ in range(2)]
    initial = State(*start[: 1 + layer.has_memory_cell])
    found, expected = layer(x, lengths, initial).h, of_loop(layer, x, lengths, initial)
    assert relative_error(found, expected) < TOLERANCE[dtype]
    weight = torch.randn_like(found)
    inputs = [x, *(s for s in initial if s is not None), *layer.parameters()]
    ours = torch.autograd.grad((found * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a, b) < 10 * TOLERANCE[dtype]


@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm"])
def test_gradients_of_a_loss_on_memory_cells_and_last_states(cell):
    torch.manual_seed(0)
    layer, lengths = make(cell, 2, 3), torch.tensor([3, 1], device=DEVICE)
    x, weight, last = randn(2, 3, 2), randn(2, 3, 3), randn(2, 3)
    gradients = []
    for kernel in ("native", "torch"):
        layer.kernel = kernel
        states = layer(x, lengths)
        memory, final = layer.memory(x, states), layer.final(x, states).h
        loss = (memory * weight * states.mask[..., None]).sum() + (final * last).sum()
        gradients.append(torch.autograd.grad(loss, list(layer.parameters())))
    for a, b in zip(*gradients, strict=True):
        assert relative_error(a, b) < 1e-10


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", KINDS)
def test_the_adjoint_and_the_gates_equal_those_of_the_recursion(cell, renormalise):
    torch.manual_seed(1)
    layer, lengths = make(cell, 2, 3), torch.tensor([4, 1], device=DEVICE)
    x, direct, last = randn(2, 4, 2), randn(2, 4, 3), randn(2, 3)
    logs = 50 * randn(2, 4) if renormalise else None
    ends = State(last, 2 * last if layer.has_memory_cell else None)
    results = []
    for kernel in ("native", "torch"):
        layer.kernel = kernel
        with torch.no_grad():
            states = layer.trace(x, lengths)
            gates = layer.gates(x, states)
            adjoint = layer.adjoint(
                x, states, direct, last=ends, renormalise=renormalise, output_grad_log_scale=logs, inputs=True
            )
        parts = [adjoint.h, adjoint.deltas, adjoint.recurrent_deltas, adjoint.inputs]
        parts += [] if adjoint.c is None else [adjoint.c]
        # As directions and logarithms, because the values themselves may overflow.
        sizes = [part.abs().amax(-1, keepdim=True).clamp_min(1e-300) for part in parts]
        scaled = [size.log() + adjoint.log_scale[..., None] for size in sizes]
        results.append([*(p / s for p, s in zip(parts, sizes, strict=True)), *scaled, *gates.values()])
    valid = states.mask[..., None]
    for a, b in zip(*results, strict=True):
        assert relative_error(a.masked_fill(~valid, 0), b.masked_fill(~valid, 0)) < 1e-10


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_training_pass_leaves_the_adjoint(cell):
    torch.manual_seed(2)
    layer, lengths, x, weight = (
        make(cell, 2, 3),
        torch.tensor([3, 2], device=DEVICE),
        randn(2, 3, 2),
        randn(2, 3, 3),
    )
    found = []
    for kernel in ("native", "torch"):
        layer.kernel = kernel
        states = layer(x, lengths)
        layer.record_gradients(states)
        (states.h.square() * weight).sum().backward()
        _, adjoint = layer.collect_gradients(x, states)
        found.append([adjoint.h, adjoint.inputs])
    for a, b in zip(*found, strict=True):
        assert relative_error(a, b) < 1e-10


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_under_autocast_products_have_16_bits_and_states_32(cell, monkeypatch):
    monkeypatch.setattr(plans, "LARGE_BATCH", 0)
    monkeypatch.setattr(plans, "MANY_UNITS", 0)
    torch.manual_seed(3)
    layer, x = make(cell, 3, 5, torch.float32), randn(2, 3, 3, dtype=torch.float32)
    expected = layer(x).h
    # The interpreter cannot multiply bfloat16.
    with torch.autocast(DEVICE.type, torch.bfloat16 if DEVICE.type == "cuda" else torch.float16):
        states = layer(x)
    assert states.h.dtype == torch.float32
    assert 1e-5 < relative_error(states.h, expected) < 2e-2
    gradients = [torch.autograd.grad(h.sum(), list(layer.parameters())) for h in (states.h, expected)]
    for a, b in zip(*gradients, strict=True):
        assert a.dtype == torch.float32
        assert relative_error(a, b) < 5e-2


def test_the_tensor_cores_are_used_for_large_batches_under_autocast_only():
    assert not plans.plan(10_000, 128, autocast=False).dot
    assert not plans.plan(32, 128, autocast=True).dot
    assert plans.plan(10_000, 128, autocast=True).dot


@pytest.mark.parametrize("back", [False, True])
def test_a_scan_equals_the_loop(back):
    torch.manual_seed(4)
    keep, written, initial = (
        torch.rand(2, 70, 3, dtype=torch.float64).to(DEVICE),
        randn(2, 70, 3),
        randn(2, 3),
    )
    found = run_scan(keep, written, initial, back)
    h, expected = initial, []
    for t in range(70):
        if back:
            share = keep[:, 70 - t] if t else torch.zeros_like(h)
            h = share * h + written[:, 69 - t]
        else:
            h = keep[:, t] * h + written[:, t]
        expected.append(h)
    assert relative_error(found, torch.stack(expected[::-1] if back else expected, 1)) < 1e-14


def test_the_gradients_of_a_scan():
    torch.manual_seed(5)
    arguments = [randn(1, 3, 1), randn(1, 3, 1), randn(1, 1)]
    assert torch.autograd.gradcheck(Scan.apply, [a.requires_grad_() for a in arguments])


@pytest.mark.parametrize("cell", DIAGONAL)
def test_layers_without_recurrent_weights_run_on_the_scan(cell, monkeypatch):
    torch.manual_seed(6)
    layer, lengths = make(cell, 2, 4), torch.tensor([5, 2], device=DEVICE)
    x, direct = randn(2, 5, 2), randn(2, 5, 4)
    results = []
    for has_kernel in (True, False):
        for module in (scan, minimal, recursion):
            monkeypatch.setattr(module, "has_kernel", lambda device, value=has_kernel: value)
        states = layer(x, lengths)
        gradients = torch.autograd.grad((states.h * direct).sum(), list(layer.parameters()))
        with torch.no_grad():
            adjoint = layer.adjoint(x, layer.trace(x, lengths), direct)
        results.append([states.h, *gradients, adjoint.h, adjoint.inputs])
    for a, b in zip(*results, strict=True):
        assert relative_error(a, b) < 1e-10


@pytest.mark.parametrize(
    ("kernel", "kind", "hidden", "dtype", "expected"),
    [
        ("auto", "gru", 64, torch.float32, "triton"),
        ("auto", "gru", 64, torch.float64, None),
        ("native", "gru", 64, torch.float64, "triton"),
        ("torch", "gru", 64, torch.float32, None),
        ("native", "gru", 512, torch.float32, None),  # the weights fill more than a multiprocessor
        ("native", "mingru", 64, torch.float32, None),  # runs on the scan
        ("auto", "lstm", 128, torch.float32, None),  # cuDNN is faster
        ("native", "lstm", 128, torch.float32, "triton"),
    ],
)
def test_the_kernel_of_a_gpu_is_chosen_by_type_and_size(kernel, kind, hidden, dtype, expected, monkeypatch):
    monkeypatch.setattr(backends, "supports_triton", lambda device: device.type == "cuda")
    found = backends.backend(kernel, kind, hidden, dtype, torch.device("cuda"))
    assert (found and found.name) == expected


def test_a_pass_that_is_read_runs_on_the_kernel_of_a_gpu_wherever_there_is_one(monkeypatch):
    monkeypatch.setattr(backends, "supports_triton", lambda device: device.type == "cuda")
    for kernel, expected in (("auto", "triton"), ("torch", None)):
        found = backends.backend(kernel, "lstm", 128, torch.float32, torch.device("cuda"), reading=True)
        assert (found and found.name) == expected


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_the_adjoint_of_a_pass_that_cudnn_trained_is_computed_by_the_kernel(cell, monkeypatch):
    torch.manual_seed(7)
    layer_, lengths, x = make(cell, 2, 3, kernel="auto"), torch.tensor([3, 2], device=DEVICE), randn(2, 3, 2)
    weight, found = randn(2, 3, 3), []
    for kernel in (backends.triton_backend(), None):

        def chosen(*_: object, reading: bool = False, kernel: backends.Backend | None = kernel):
            return kernel if reading else None

        monkeypatch.setattr(layer, "backend", lambda *a, chosen=chosen: chosen(reading=a[-1]))
        states = layer_(x, lengths)
        layer_.record_gradients(states)
        (states.h.square() * weight).sum().backward()
        assert not isinstance(states.cache, layer.NativePassCache)
        collected, adjoint = layer_.collect_gradients(x, states)
        assert isinstance(collected.cache, layer.NativePassCache) == (kernel is not None)
        found.append([collected.h, adjoint.h, adjoint.inputs])
    for a, b in zip(*found, strict=True):
        assert relative_error(a, b) < 1e-10


def test_a_run_trains_on_the_kernel(small, monkeypatch):
    """A run with kernel=native records the kernel, and its metrics are those of kernel=torch."""
    sizes = ["data.steps=3", "data.train=4", "data.validation=2", "data.test=2", "data.batch_size=2"]
    trainer = "gpu" if DEVICE.type == "cuda" else "cpu"
    overrides = [
        "model=rnn",
        f"trainer={trainer}",
        "data.workers=0",
        *sizes,
        "trainer.max_steps=2",
        "trainer.max_epochs=-1",
        "instruments=default",
    ]
    calls = []
    monkeypatch.setattr(recurrence.rnn, "backward", _counted(recurrence.rnn.backward, calls))
    results = [
        run(small(*overrides, f"kernel={kernel}", "seed=0", f"study.name={kernel}"))
        for kernel in ("native", "torch")
    ]
    assert calls
    assert kernel_of(results[0].module.model, DEVICE) == "triton"
    first, second = (result.summary for result in results)
    for name, value in second.items():
        if name.startswith(("best/", "test/")):
            assert first[name] == pytest.approx(value, rel=1e-4)


def _counted(kernel, calls):
    class Counted:
        arg_names = kernel.arg_names

        def __getitem__(self, grid):
            calls.append(grid)
            return kernel[grid]

    return Counted()
