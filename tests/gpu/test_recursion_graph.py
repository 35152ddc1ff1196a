"""The recursion of the adjoint as a CUDA graph against the recursion step by step."""

from __future__ import annotations

import pytest
import torch
from cells.cell_reference import CELLS, configured

from gatescope.cells import recursion_graph
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.recursion_graph import graphs_of
from gatescope.cells.state import State
from gpu.devices import ON_GPU

pytestmark = pytest.mark.usefixtures("exact")


class Readings:
    """Adjoints of a layer after each of a few changes of its weights."""

    def __init__(self, cell: str, renormalise: bool, device: torch.device) -> None:
        torch.manual_seed(0)
        self.layer: RecurrentLayer = CELLS[cell](5, 8)
        if hasattr(self.layer, "kernel"):
            self.layer.kernel = "torch"
        self.layer = self.layer.to(device)
        self.renormalise, self.device = renormalise, device

    @torch.no_grad()
    def all(self) -> list[list[torch.Tensor]]:
        """Adjoints of six passes, on one shape."""
        found = []
        for seed in range(6):
            torch.manual_seed(seed)
            for parameter in self.layer.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape).to(self.device))
            x, output_grad = torch.randn(3, 40, 5).to(self.device), torch.randn(3, 40, 8).to(self.device)
            part = torch.randn(2, 3, 8).to(self.device)
            last = State(part[0], part[1] if self.layer.has_memory_cell else None)
            states = self.layer.trace(x, torch.tensor([40, 31, 2]).to(self.device))
            given = {"last": last, "renormalise": self.renormalise}
            adjoint = self.layer.adjoint(x, states, output_grad if seed % 2 else None, **given)
            parts = (adjoint.h, adjoint.c, adjoint.log_scale, adjoint.inputs)
            found.append([part for part in parts if part is not None])
        return found


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", configured())
def test_a_graph_is_the_recursion(
    cell: str, renormalise: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = Readings(cell, renormalise, device)
    found = captured.all()
    graphs = [graph for graph in graphs_of(captured.layer)._graphs.values() if graph is not None]
    runs_on_scan = captured.layer.is_diagonal and not renormalise
    assert bool(graphs) == (ON_GPU and captured.layer.has_analytic_vjp and not runs_on_scan)
    monkeypatch.setattr(recursion_graph, "supports_graphs", lambda device: False)
    for ours, expected in zip(found, Readings(cell, renormalise, device).all(), strict=True):
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
