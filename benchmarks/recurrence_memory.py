"""Peak memory of a training step of one layer, by the native kernel and by torch, as in `peak_memory`."""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import Any

import torch

from benchmarks.one_core import in_fresh_process, serve
from benchmarks.peak_memory import peak
from benchmarks.recurrence_speed import RECURRENT, layer_of, training_step
from benchmarks.result import Result, Target
from benchmarks.setting import Size

QUESTION = (
    "growth of the peak resident set (new process, after imports, weights and data) over three "
    "training steps of one layer: native over nn"
)
TARGETS = {"peak": Target(at_most=1.0)}
WARM_UP_SIZE = Size(3, 2, 4, 4)
STEPS = 3


def measure(size: Size | None = None, cells: tuple[str, ...] = RECURRENT) -> Result:
    """Run the benchmark."""
    size = size or Size(steps=400, batch=64, inputs=128, hidden=128)
    result = Result("recurrence_memory", QUESTION, asdict(size), TARGETS)
    for cell in cells:
        native, module = (_megabytes(cell, way, size) for way in ("native", "nn"))
        result.add_value(
            cell, "peak", native / max(module, 1e-9), megabytes_native=native, megabytes_nn=module
        )
    return result


def _megabytes(cell: str, way: str, size: Size) -> float:
    return in_fresh_process("benchmarks.recurrence_memory", cell=cell, way=way, size=astuple(size))


def growth(cell: str, way: str, size: list[Any]) -> float:
    """Return by how many megabytes the peak of this process grows."""
    _steps(cell, way, WARM_UP_SIZE)()
    run = _steps(cell, way, Size(*size))
    before = peak()
    run()
    return peak() - before


def _steps(cell: str, way: str, size: Size) -> Any:
    layer = layer_of(cell, size)
    module = layer if way == "native" else layer.fused
    x = torch.randn(size.batch, size.steps, size.inputs)
    output_grad = torch.randn(size.batch, size.steps, size.hidden)

    def run() -> None:
        for _ in range(STEPS):
            training_step(module, x, output_grad)

    return run


if __name__ == "__main__":
    serve(growth)
