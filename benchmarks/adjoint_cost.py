"""What gates and adjoint cost, in training steps."""

from __future__ import annotations

from dataclasses import asdict

import torch

from benchmarks.result import Result
from benchmarks.setting import CELLS, Size, loss, make
from benchmarks.timing import Way, interleaved, ratio
from gatescope.cells.base import State
from gatescope.instruments.probe import look

QUESTION = (
    "seconds of gates, and of gates and adjoint, of every layer, from known states, over those of one "
    "training step (forward and backward)"
)


def measure(rounds: int = 9, size: Size | None = None, cells: tuple[str, ...] = tuple(CELLS)) -> Result:
    size = size or Size()
    result = Result("adjoint_cost", QUESTION, {**asdict(size), "rounds": rounds})
    for cell in cells:
        seconds = interleaved(ways(cell, size), rounds)
        for what in ("gates", "gates and adjoint", "gates and renormalised adjoint"):
            result.add(cell, what, ratio(seconds[what], seconds["training step"]))
    return result


def ways(cell: str, size: Size) -> dict[str, Way]:
    model, batch = make(cell, size)
    probe = look(model, batch, loss)

    def training_step() -> None:
        model.train()
        model.zero_grad()
        loss(model(batch).values, batch.targets).mean().backward()
        model.eval()

    @torch.no_grad()
    def gates() -> None:
        for layer in probe.layers.values():
            # A pass may keep what its gates and its adjoint share: every call starts from a fresh one.
            fresh = type(layer.states)(
                layer.states.h, layer.states.initial, layer.states.lengths, layer.states.c
            )
            layer.states = fresh
            layer.cell.gates(layer.x, fresh)

    def adjoint(renormalise: bool) -> list[State]:
        gates()
        found = model.stack.adjoint(probe.layers, probe.direct, renormalise=renormalise)
        return [State(adjoint.h, adjoint.c) for adjoint in found.values()]

    return {
        "training step": training_step,
        "gates": gates,
        "gates and adjoint": lambda: adjoint(False),
        "gates and renormalised adjoint": lambda: adjoint(True),
    }
