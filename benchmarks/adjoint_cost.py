"""What gates and adjoint cost, in training steps."""

from __future__ import annotations

from dataclasses import asdict

import torch

from benchmarks.result import Bar, Result
from benchmarks.setting import CELLS, Size, loss, make
from benchmarks.timing import Way, interleaved, ratio
from gatescope.cells.state import State
from gatescope.instruments.probe import probe_model
from gatescope.models.traces import LayerTrace
from gatescope.training.housekeeping import keep_freed_pages

QUESTION = (
    "seconds over those of one training step (forward and backward) of: that step when it leaves gates and "
    "adjoint of every layer; a pass without autograd whose gates can be read; that and the adjoint"
)
WATCHED = "step, gates and adjoint taken"
BARS = {WATCHED: Bar(at_most=1.1)}


def measure(rounds: int = 25, size: Size | None = None, cells: tuple[str, ...] = tuple(CELLS)) -> Result:
    keep_freed_pages()  # as training does
    size = size or Size()
    result = Result("adjoint_cost", QUESTION, {**asdict(size), "rounds": rounds}, BARS)
    for cell in cells:
        seconds = interleaved(ways(cell, size), rounds)
        for what in (name for name in seconds if name != "training step"):
            result.add(cell, what, ratio(seconds[what], seconds["training step"]))
    return result


def ways(cell: str, size: Size) -> dict[str, Way]:
    model, batch = make(cell, size)
    direct = probe_model(model, batch, loss).output_grad

    def training_step() -> None:
        model.train()
        model.zero_grad()
        loss(model(batch).values, batch.targets).mean().backward()
        model.eval()

    def watched() -> list[State]:
        model.stack.record_gradients()
        training_step()
        return [State(left.adjoint.h, left.adjoint.c) for left in model.stack.collect_gradients().values()]

    @torch.no_grad()
    def gates() -> dict[str, LayerTrace]:
        layers = model.trace(batch)[2]
        for layer in layers.values():
            layer.cell.gates(layer.x, layer.states)
        return layers

    def adjoint(renormalise: bool) -> list[State]:
        found = model.stack.adjoint(gates(), direct, renormalise=renormalise)
        return [State(adjoint.h, adjoint.c) for adjoint in found.values()]

    return {
        "training step": training_step,
        WATCHED: watched,
        "pass and gates": gates,
        "pass, gates and adjoint": lambda: adjoint(False),
        "pass, gates and renormalised adjoint": lambda: adjoint(True),
    }
