"""The recursion of the adjoint as a CUDA graph: which passes take it, and that it computes the same.

Without a GPU `capture` is replaced by a function that runs the same operations on the same tensors.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import torch
from cells.cell_reference import CELLS, configured
from conftest import Compose
from omegaconf import DictConfig
from torch import Tensor

from gatescope.cells import recursion_graph
from gatescope.cells.adjoint import Adjoint
from gatescope.cells.gru import GRU
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.recursion import _recursion, linearised_blocks
from gatescope.cells.recursion_graph import MOST_GRAPHS, RecursionInputs, graphs_of
from gatescope.cells.state import State, States

ANALYTIC = [name for name in configured() if CELLS[name](2, 4).has_analytic_vjp]


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Devices of the graphs that were captured."""
    found: list[torch.device] = []

    def capture(operations: Callable[[], tuple[Tensor, Tensor]], device: torch.device) -> Any:
        found.append(device)
        outputs = operations()

        def replay() -> None:
            for fixed, values in zip(outputs, operations(), strict=True):
                fixed.copy_(values)

        return replay, outputs

    monkeypatch.setattr(recursion_graph, "capture", capture)
    monkeypatch.setattr(recursion_graph, "supports_graphs", lambda device: True)
    monkeypatch.setattr(recursion_graph, "fits", lambda inputs: True)
    return found


def layer_of(cell: str) -> RecurrentLayer:
    torch.manual_seed(0)
    layer: RecurrentLayer = CELLS[cell](3, 4)
    if hasattr(layer, "kernel"):
        layer.kernel = "torch"
    return layer.double()


@torch.no_grad()
def adjoint(layer: RecurrentLayer, seed: int, steps: int = 6, renormalise: bool = True) -> Adjoint:
    """The adjoint of a padded pass that depends on the seed."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, lengths = random(2, steps, 3), torch.tensor([steps, steps - 2])
    last = State(random(2, 4), random(2, 4) if layer.has_memory_cell else None)
    states = layer.trace(x, lengths)
    return layer.adjoint(x, states, random(2, steps, 4), last=last, renormalise=renormalise)


def tensors(found: Adjoint) -> list[Tensor]:
    return [part for part in (found.h, found.c, found.log_scale, found.inputs) if part is not None]


@torch.no_grad()
def train(layer: RecurrentLayer, seed: int) -> None:
    """Change the weights in place, as an optimizer does."""
    torch.manual_seed(seed)
    for parameter in layer.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", ANALYTIC)
def test_a_replay_is_the_recursion_with_new_inputs_and_weights(
    cell: str, renormalise: bool, captures: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layer_of(cell)
    found = []
    for seed in range(4):
        train(layer, seed)
        found.append(tensors(adjoint(layer, seed, renormalise=renormalise)))
    assert len(captures) == 1
    monkeypatch.setattr(recursion_graph, "supports_graphs", lambda device: False)
    layer = layer_of(cell)
    for seed in range(4):
        train(layer, seed)
        for ours, expected in zip(
            found[seed], tensors(adjoint(layer, seed, renormalise=renormalise)), strict=True
        ):
            torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_what_occurs_once_is_not_captured(captures: list[torch.device]) -> None:
    layer = layer_of("gru")
    for steps in range(4, 9):
        adjoint(layer, 0, steps)
    assert not captures


def test_the_graph_that_was_not_used_for_the_longest_time_is_dropped(captures: list[torch.device]) -> None:
    layer = layer_of("gru")
    for _ in range(2):
        adjoint(layer, 0, 4)
    assert len(captures) == 1
    for steps in range(5, 5 + MOST_GRAPHS - 1):
        adjoint(layer, 0, steps)
    adjoint(layer, 0, 4)  # still there, and now the latest
    assert len(captures) == 1
    for steps in range(20, 20 + MOST_GRAPHS):
        adjoint(layer, 0, steps)
    for _ in range(2):
        adjoint(layer, 0, 4)
    assert len(captures) == 2


def test_weights_in_another_place_are_captured_anew(captures: list[torch.device]) -> None:
    layer = layer_of("lstm")
    for _ in range(2):
        adjoint(layer, 0)
    layer.load_state_dict({name: values.clone() for name, values in layer.state_dict().items()}, assign=True)
    expected = adjoint(layer, 1)
    for _ in range(2):
        torch.testing.assert_close(adjoint(layer, 1).h, expected.h, rtol=0, atol=0)
    assert len(captures) == 2


def test_derivatives_that_follow_from_step_are_not_captured(captures: list[torch.device]) -> None:
    class Derived(GRU):
        state_vjp = RecurrentLayer.state_vjp
        linearise = RecurrentLayer.linearise
        prepare_vjp = RecurrentLayer.prepare_vjp

        def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> Any:
            return RecurrentLayer.vjp(self, state_grad, saved)

    layer = Derived(3, 4, kernel="torch").double()
    assert not layer.has_analytic_vjp
    for _ in range(3):
        layer.adjoint(torch.ones(2, 5, 3).double(), layer.trace(torch.ones(2, 5, 3).double()), None)
    assert not captures


def test_graphs_end_with_their_layer(captures: list[torch.device], monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(operations: Callable[[], tuple[Tensor, Tensor]], device: torch.device) -> Any:
        return lambda: None, operations()  # as a CUDA graph, it does not keep the function

    monkeypatch.setattr(recursion_graph, "capture", capture)
    layer = layer_of("gru")
    for _ in range(2):
        adjoint(layer, 0)
    graphs = ref(graphs_of(layer))
    del layer
    gc.collect()
    assert graphs() is None


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", ANALYTIC)
@torch.no_grad()
def test_the_captured_operations_read_no_value(cell: str, renormalise: bool) -> None:
    """Tensors of the meta device have no values: `.item()`, `.tolist()` and `bool()` raise."""
    layer = layer_of(cell).to("meta")
    x, h = torch.empty(2, 6, 3, device="meta").double(), torch.empty(2, 6, 4, device="meta").double()
    zero = layer.zero_state(x)
    states = States(h, zero, None, None if zero.c is None else h)
    steps = [step for block in linearised_blocks(layer, x, states) for step in block.steps]
    inputs = RecursionInputs(steps, [h], h[..., 0])
    found, log_scale = _recursion(layer, inputs, [True] * 5 + [False], renormalise)
    assert found.shape == (6, 2, 8 if layer.has_memory_cell else 4)
    assert log_scale.shape == (2, 6)


def test_the_measurements_of_a_run_use_graphs_and_stay_the_same(
    small: Compose,
    recorded: Callable[[DictConfig], dict[str, dict[str, Any]]],
    captures: list[torch.device],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    given = ("kernel=torch", "instruments.every_n_steps=1", "trainer.max_steps=5")
    found = recorded(small(*given))
    assert captures
    monkeypatch.setattr(recursion_graph, "supports_graphs", lambda device: False)
    expected = recorded(small(*given, f"root={tmp_path / 'recursion'}"))
    assert found == expected
    assert any(name.startswith("gradient_flow/") for name in found)


def test_a_cpu_has_no_graphs() -> None:
    assert not recursion_graph.supports_graphs(torch.device("cpu"))
