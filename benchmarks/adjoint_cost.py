"""Cost of gates and adjoint, relative to a training step."""

from __future__ import annotations

from dataclasses import asdict

import torch

from benchmarks.result import Result, Target
from benchmarks.setting import CELLS, Size, loss, make
from benchmarks.timing import Way, interleaved, ratio
from gatescope.cells.state import State
from gatescope.instruments.probe import probe_model
from gatescope.models.traces import LayerTrace
from gatescope.training.lightning_internals import keep_freed_pages

QUESTION = (
    "seconds relative to one training step (forward and backward) of: a training step that also records "
    "gates and adjoint of every layer; a forward pass without autograd that returns gates; the same with the "
    "adjoint"
)
RECORDED = "step, gates and adjoint taken"
TARGETS = {RECORDED: Target(at_most=1.1)}


def measure(rounds: int = 25, size: Size | None = None, cells: tuple[str, ...] = tuple(CELLS)) -> Result:
    """Run the benchmark."""
    keep_freed_pages()  # as training does
    size = size or Size()
    result = Result("adjoint_cost", QUESTION, {**asdict(size), "rounds": rounds}, TARGETS)
    for cell in cells:
        seconds = interleaved(ways(cell, size), rounds)
        for name in seconds:
            if name != "training step":
                result.add(cell, name, ratio(seconds[name], seconds["training step"]))
    return result


def ways(cell: str, size: Size) -> dict[str, Way]:
    """Return the timed functions by the name of their measure."""
    model, batch = make(cell, size)
    output_grad = probe_model(model, batch, loss).output_grad

    def training_step() -> None:
        model.train()
        model.zero_grad()
        loss(model(batch).values, batch.targets).mean().backward()
        model.eval()

    def recorded() -> list[State]:
        model.stack.record_gradients()
        training_step()
        return [State(layer.adjoint.h, layer.adjoint.c) for layer in model.stack.collect_gradients().values()]

    @torch.no_grad()
    def gates() -> dict[str, LayerTrace]:
        layers = model.trace(batch)[2]
        for layer in layers.values():
            layer.cell.gates(layer.x, layer.states)
        return layers

    def adjoint(renormalise: bool) -> list[State]:
        adjoints = model.stack.adjoint(gates(), output_grad, renormalise=renormalise)
        return [State(adjoint.h, adjoint.c) for adjoint in adjoints.values()]

    return {
        "training step": training_step,
        RECORDED: recorded,
        "pass and gates": gates,
        "pass, gates and adjoint": lambda: adjoint(False),
        "pass, gates and renormalised adjoint": lambda: adjoint(True),
    }
