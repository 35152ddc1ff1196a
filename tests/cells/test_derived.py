"""The methods derived from `step` against the hand-written ones of every cell."""

from __future__ import annotations

import pytest
import torch
from cell_reference import ANALYTIC, CELLS, TOLERANCE, gradients, loop_stack, relative_error
from torch import Tensor, nn

from gatescope.cells import derived
from gatescope.cells.adjoint import DenseAdjoint
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State, States, join, split
from gatescope.models.stack import RecurrentStack

LENGTHS = torch.tensor([19, 4, 1, 17])


class OnlyStep(RecurrentLayer):
    """Another cell's `step`, without its faster methods."""

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner = CELLS[cell](input_size, hidden_size)

    @property
    def has_memory_cell(self) -> bool:
        return self.inner.has_memory_cell

    def step(self, x_t: Tensor, state: State) -> State:
        return self.inner.step(x_t, state)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        return {}


def assert_close(value: State, expected: State, dtype: torch.dtype) -> None:
    assert (value.c is None) == (expected.c is None)
    assert relative_error(join(value), join(expected)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_states_and_adjoint_equal_the_hand_written_ones(cell, renormalise, dtype):
    torch.manual_seed(0)
    layer = OnlyStep(cell, 3, 6).to(dtype)
    fast = layer.inner
    x, output_grad = torch.randn(4, 19, 3, dtype=dtype), torch.randn(4, 19, 6, dtype=dtype)
    last = torch.randn(2, 4, 6, dtype=dtype).unbind()
    initial = State(*torch.randn(2, 4, 6, dtype=dtype).unbind()[: 1 + layer.has_memory_cell])
    with torch.no_grad():
        states, expected = layer(x, LENGTHS, initial), fast.trace(x, LENGTHS, initial)
        assert relative_error(states.h, expected.h) < TOLERANCE[dtype]
        assert_close(layer.final(x, states), fast.final(x, expected), dtype)
        options = {"last": State(*last[: 1 + layer.has_memory_cell]), "renormalise": renormalise}
        found = layer.adjoint(x, states, output_grad, **options)
        truth = fast.adjoint(x, expected, output_grad, **options)
    assert isinstance(found, DenseAdjoint)
    for adjoint, other in ((found, truth), (found.first(2), truth.first(2))):
        scale, other_scale = (a.log_scale.exp()[..., None].to(dtype) for a in (adjoint, other))
        ours, theirs = State(adjoint.h, adjoint.c), State(other.h, other.c)
        assert relative_error(join(ours) * scale, join(theirs) * other_scale) < TOLERANCE[dtype]
        assert relative_error(adjoint.inputs * scale, other.inputs * other_scale) < TOLERANCE[dtype]


@pytest.mark.parametrize("leading", [(4, 19), (5, 4, 19)])
@pytest.mark.parametrize("cell", CELLS)
def test_products_with_the_jacobian_equal_the_hand_written_ones(cell, leading):
    torch.manual_seed(1)
    layer, dtype = OnlyStep(cell, 3, 6).double(), torch.float64
    fast = layer.inner
    size = 6 * (1 + layer.has_memory_cell)
    x, vectors = torch.randn(4, 19, 3, dtype=dtype), torch.randn(*leading, size, dtype=dtype)
    states = layer(x)
    with torch.no_grad():
        saved, expected = layer.linearise(x, states), fast.linearise(x, states)
        found, truth = (c.vjp(split(c, vectors), s) for c, s in ((layer, saved), (fast, expected)))
        assert_close(found.previous, truth.previous, dtype)
        assert_close(found.total, truth.total, dtype)
        assert_close(layer.total(split(layer, vectors), saved), truth.total, dtype)
        inputs = truth.delta @ fast.input_weights if cell in ANALYTIC else truth.inputs
        assert relative_error(found.inputs, inputs) < TOLERANCE[dtype]
        products = (c.state_vjp(vectors, c.prepare_vjp(s)) for c, s in ((layer, saved), (fast, expected)))
        assert relative_error(*products) < TOLERANCE[dtype]
        tangents = (c.jvp(split(c, vectors), s) for c, s in ((layer, saved), (fast, expected)))
        assert_close(*tangents, dtype)


class Chained(RecurrentLayer):
    """A cell whose memory depends on its output, the reverse of an LSTM, and whose root is steep at 0."""

    has_memory_cell = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(0.5 * torch.randn(hidden_size, input_size))

    def step(self, x_t: Tensor, state: State) -> State:
        h = torch.sqrt(0.1 + state.h.square() + state.c.square()) + x_t @ self.weight_ih.T
        return State(h, torch.tanh(h) * state.c + h)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        return {}


def test_a_memory_cell_that_depends_on_the_output():
    torch.manual_seed(2)
    stack = RecurrentStack(Chained, 3, 6, layers=2, bidirectional=True).double()
    x, lengths = torch.randn(3, 7, 3, dtype=torch.float64, requires_grad=True), torch.tensor([7, 4, 1])
    output, steps = loop_stack(stack, x, lengths)
    weight = torch.randn_like(output)
    (output * weight).sum().backward()
    found, traces = stack.trace(x.detach(), lengths)
    assert relative_error(found, output) < 1e-10
    adjoints = stack.adjoint(traces, weight)
    for name, (h, c) in steps.items():
        assert relative_error(adjoints[name].h, gradients(h)) < 1e-10
        assert relative_error(adjoints[name].c, gradients(c)) < 1e-10


def test_padding_that_overflows_reaches_neither_states_nor_gradients():
    layer = OnlyStep("rnn_relu", 2, 4)
    with torch.no_grad():
        layer.inner.recurrent_weights.copy_(1e3 * torch.eye(4))
    x = torch.ones(2, 40, 2)
    x[1, 3:] = torch.inf
    x.requires_grad_()
    states = layer(x[1:], torch.tensor([3]))
    (grad,) = torch.autograd.grad(states.h.sum(), x)
    assert bool(states.h.isfinite().all())
    assert bool(grad.isfinite().all())
    assert not bool(grad[1, 3:].any())


def test_a_step_that_ignores_its_state_has_a_jacobian_of_zeros():
    x = torch.randn(2, 3, 6)
    saved = {"x": x, "h": torch.randn(2, 3, 6)}

    def step(x_t: Tensor, state: State) -> State:
        return State(torch.tanh(x_t))

    assert not bool(derived.jvp(step, State(torch.randn(4, 2, 3, 6)), saved).h.any())
    found = derived.vjp(step, State(torch.ones(2, 3, 6)), saved)
    assert not bool(found.previous.h.any())
    torch.testing.assert_close(found.inputs, 1 - torch.tanh(x).square())


def test_half_precision_inputs_are_differentiated_in_the_type_of_the_weights():
    torch.manual_seed(3)
    layer, x = CELLS["rglru"](3, 4), torch.randn(2, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        states = layer(x.bfloat16())
    grad = torch.randn(2, 5, 4)
    found = layer.adjoint(x.bfloat16(), states, grad.to(states.h.dtype))
    expected = layer.adjoint(x, layer(x), grad)
    assert relative_error(found.h.float(), expected.h) < 3e-2
