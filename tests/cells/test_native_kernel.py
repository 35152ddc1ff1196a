"""The native kernel against loops over `step`, and against itself on more threads."""

from __future__ import annotations

import inspect

import pytest
import torch
from cell_reference import CELLS, TOLERANCE, loop, of_loop, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatescope.cells.kernels import recurrence
from gatescope.cells.kernels.build import available
from gatescope.cells.kernels.layer import NativeLayer
from gatescope.cells.kernels.layout import layout
from gatescope.cells.state import State

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler")
KINDS = ["rnn", "rnn_relu", "irnn", "gru", "gru_article", "lstm", "peephole_lstm", "mingru", "minlstm"]


def native(cell: str, inputs: int, units: int, dtype: torch.dtype = torch.float64) -> NativeLayer:
    layer = CELLS[cell](inputs, units).to(dtype)
    assert isinstance(layer, NativeLayer)
    layer.kernel = "native"
    return layer


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", KINDS)
@settings(deadline=None, max_examples=12)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=11),
    units=st.integers(1, 70),
    inputs=st.integers(1, 5),
)
def test_values_and_all_gradients_equal_the_loop(cell, dtype, lengths, units, inputs):
    torch.manual_seed(len(lengths))
    layer, lengths = native(cell, inputs, units, dtype), torch.tensor(lengths)
    x = torch.randn(len(lengths), int(lengths.max()), inputs, dtype=dtype, requires_grad=True)
    start = [torch.randn(len(lengths), units, dtype=dtype, requires_grad=True) for _ in range(2)]
    initial = State(*start[: 1 + layer.has_memory_cell])
    found, expected = layer(x, lengths, initial).h, of_loop(layer, x, lengths, initial)
    assert relative_error(found, expected) < TOLERANCE[dtype]
    weight = torch.randn_like(found)
    wanted = [x, *(s for s in initial if s is not None), *layer.parameters()]
    ours = torch.autograd.grad((found * weight).sum(), wanted)
    theirs = torch.autograd.grad((expected * weight).sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a, b) < 10 * TOLERANCE[dtype]


@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm"])
def test_gradients_of_a_loss_on_the_memory_cell(cell):
    torch.manual_seed(0)
    layer, x = native(cell, 3, 5), torch.randn(2, 6, 3, dtype=torch.float64)
    weight = torch.randn(2, 6, 5, dtype=torch.float64)
    states = layer(x)
    _, memory = loop(layer, x)
    ours = torch.autograd.grad((states.c * weight).sum(), list(layer.parameters()))
    theirs = torch.autograd.grad((torch.stack(memory, 1) * weight).sum(), list(layer.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a, b) < 1e-10


@pytest.mark.parametrize("cell", KINDS)
def test_gradcheck(cell):
    torch.manual_seed(1)
    layer, lengths = native(cell, 2, 3), torch.tensor([3, 1])
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, given, (x, lengths)).h

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize("cell", KINDS)
def test_threads_change_no_bit(cell, monkeypatch):
    """Compare states and gradients of a training step, and a pass that stores no gates."""
    monkeypatch.setattr(recurrence, "MULTIPLICATIONS_PER_THREAD", 1)
    torch.manual_seed(2)
    layer, x = native(cell, 40, 72, torch.float32), torch.randn(33, 77, 40, requires_grad=True)
    lengths, direct = torch.randint(1, 78, (33,)), torch.randn(33, 77, 72)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            h = layer(x, lengths).h
            results.append([h, *torch.autograd.grad(h, [x, *layer.parameters()], direct)])
            with torch.no_grad():
                assert torch.equal(layer(x, lengths).h, h)
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


@pytest.mark.parametrize("cell", KINDS)
def test_a_row_does_not_depend_on_other_rows(cell):
    torch.manual_seed(3)
    layer, x = native(cell, 4, 33, torch.float32), torch.randn(9, 5, 4)
    with torch.no_grad():
        assert torch.equal(layer(x).h[2:3], layer(x[2:3]).h)


@pytest.mark.parametrize("cell", KINDS)
def test_the_last_states_are_those_of_the_loop_and_take_gradients(cell):
    torch.manual_seed(5)
    layer, lengths = native(cell, 3, 5), torch.tensor([4, 1, 6, 6])
    x, weight = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 6, 5, dtype=torch.float64)
    for some in (lengths, torch.tensor([6, 6, 6, 6])):
        expected = of_loop(layer, x, some, layer.zero_state(x))
        ends, states = expected[torch.arange(4), some - 1], layer(x, some)
        assert relative_error(states.last, ends) < 1e-10
        for ours, theirs in (
            (states.last.exp().sum(), ends.exp().sum()),
            (
                states.last.exp().sum() + (states.h * weight).sum(),
                ends.exp().sum() + (expected * weight).sum(),
            ),
        ):
            found = torch.autograd.grad(ours, list(layer.parameters()), retain_graph=True)
            for a, b in zip(
                found, torch.autograd.grad(theirs, list(layer.parameters()), retain_graph=True), strict=True
            ):
                assert relative_error(a, b) < 1e-10


@pytest.mark.parametrize("cell", KINDS)
def test_uninitialised_memory_is_never_read(cell, monkeypatch):
    """Compare with torch's deterministic mode, which fills new memory with NaN."""
    torch.manual_seed(6)
    layer, x = native(cell, 5, 9, torch.float32), torch.randn(3, 4, 5, requires_grad=True)
    found = []
    for filled in (True, False):
        monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", filled)
        torch.use_deterministic_algorithms(filled)
        try:
            for lengths in (torch.tensor([4, 4, 4]), torch.tensor([2, 4, 1])):
                h = layer(x, lengths).h
                found.append([h, *torch.autograd.grad(h.sum(), [x, *layer.parameters()])])
        finally:
            torch.use_deterministic_algorithms(False)
    for a, b in zip(found[:2], found[2:], strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
        assert all(bool(p.isfinite().all()) for p in a)


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
def test_gradients_through_an_almost_closed_gate_keep_their_digits(cell):
    """The gate is about 1e-7, float32's spacing near 1, so that 1 - keep would be only rounding error."""
    torch.manual_seed(7)
    layer, x = native(cell, 3, 5), torch.randn(2, 6, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.bias[:5] = -16
        shut = torch.sigmoid(layer.preactivations(x)[0])
        if cell == "minlstm":
            shut = shut / (shut + torch.sigmoid(layer.preactivations(x)[1]))
    lengths = torch.tensor([6, 4])
    valid = torch.arange(6) < lengths[:, None]
    exact = torch.autograd.grad(
        of_loop(layer, x, lengths, layer.zero_state(x)).sum(), list(layer.parameters())
    )
    layer.float()
    for kernel in ("native", "torch"):
        layer.kernel = kernel
        with torch.no_grad():
            gate = layer.gates(x.float(), layer.trace(x.float(), lengths))[layer.gate_names[0]]
        assert bool(gate.isfinite().all())
        assert relative_error(gate.double()[valid], shut[valid]) < 1e-5
        found = torch.autograd.grad(layer(x.float(), lengths).h.sum(), list(layer.parameters()))
        for a, b in zip(found, exact, strict=True):
            assert relative_error(a.double(), b) < 1e-5


@pytest.mark.parametrize("cell", KINDS)
def test_an_empty_batch(cell):
    layer = native(cell, 3, 4, torch.float32)
    assert layer(torch.empty(0, 5, 3)).h.shape == (0, 5, 4)


@pytest.mark.parametrize("cell", KINDS)
def test_nan_propagates_within_its_sequence_only(cell):
    layer, x = native(cell, 2, 5, torch.float32), torch.zeros(2, 3, 2)
    x[0, 1] = torch.nan
    h = layer(x).h
    assert bool(h[0, 1:].isnan().all())
    assert bool(h[1].isfinite().all())
    assert bool(h[0, 0].isfinite().all())


def test_a_second_derivative_is_refused():
    layer, x = native("gru", 2, 3), torch.randn(1, 4, 2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative: set kernel=torch"):
        torch.autograd.grad(layer(x).h.sum(), x, create_graph=True)


@pytest.mark.parametrize("cell", KINDS)
def test_under_autocast_only_the_type_of_the_input_changes(cell):
    torch.manual_seed(4)
    layer, x = native(cell, 3, 4, torch.float32), torch.randn(2, 5, 3)
    half = x.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        of_whole, h = layer(x).h, layer(half).h
    assert torch.equal(of_whole, layer(x).h)
    assert h.dtype == torch.float32
    assert torch.equal(h, layer(half.float()).h)
    h.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())


def test_frozen_weights_get_no_gradient_and_inputs_do():
    layer = native("lstm", 3, 4, torch.float32).requires_grad_(False)
    x = torch.randn(2, 5, 3, requires_grad=True)
    layer(x).h.sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in layer.parameters())


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_a_layout_packs_valid_steps_only_and_back(lengths):
    lengths = torch.tensor(lengths)
    steps = int(lengths.max())
    where = layout(lengths, len(lengths), steps)
    x = torch.arange(1.0, 1 + len(lengths) * steps).view(len(lengths), steps, 1)
    valid = torch.arange(steps) < lengths[:, None]
    packed = where.pack(x)
    assert len(packed) == int(lengths.sum())
    assert torch.equal(where.unpack(packed), x.masked_fill(~valid[..., None], 0))
    states = torch.cat([-torch.ones(len(lengths), 1, 1), x], dim=1).transpose(0, 1)
    shifted = torch.cat([-torch.ones(len(lengths), 1, 1), x[:, :-1]], dim=1)
    assert torch.equal(where.previous(states), where.pack(shifted))


def test_every_native_cell_has_the_option_kernel():
    for cell in KINDS:
        made = CELLS[cell]
        assert "kernel" in inspect.signature(getattr(made, "func", made).__init__).parameters


def test_a_layout_is_cached_until_the_lengths_change():
    lengths = torch.tensor([3, 1, 2])
    first = layout(lengths, 3, 4)
    assert layout(lengths, 3, 4) is first
    assert layout(lengths, 3, 5) is not first
    lengths[0] = 4
    assert layout(lengths, 3, 4).offsets.tolist() == [0, 3, 5, 6, 7]


def test_a_layout_within_inference_mode():
    with torch.inference_mode():
        lengths = torch.tensor([3, 1, 2])
        assert layout(lengths, 3, 4).offsets.tolist() == [0, 3, 5, 6, 6]
        layer, x = native("gru", 2, 3, torch.float32), torch.randn(3, 4, 2)
        assert layer(x, lengths).h.shape == (3, 4, 3)


def test_gradients_below_the_smallest_normal_number_are_zero():
    """Arithmetic with subnormal numbers is slow, and the gradients of a long sequence vanish into them."""
    torch.manual_seed(0)
    layer, x = native("rnn", 2, 8, torch.float32), torch.randn(1, 200, 2, requires_grad=True)
    with torch.no_grad():
        dict(layer.named_parameters())["fused.weight_hh_l0"].mul_(0.3)
    (grad,) = torch.autograd.grad(layer(x).h[:, -1].sum(), x)
    expected = x.detach().double().requires_grad_()
    states, _ = loop(layer.double(), expected)
    (exact,) = torch.autograd.grad(states[-1].sum(), expected)
    tiny = torch.finfo(torch.float32).tiny
    assert ((exact.abs() > 1e-45) & (exact.abs() < tiny)).any()
    assert not ((grad != 0) & (grad.abs() < tiny)).any()
    assert relative_error(grad, exact.float()) < TOLERANCE[torch.float32]
    assert torch.tensor(1e-40) * 1.5 != 0  # the thread computes with subnormal numbers again
