"""Time of a training step of one recurrent layer: torch, the native kernel, a jitted JAX scan, Keras."""

from __future__ import annotations

from dataclasses import asdict, astuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.one_core import freeze_garbage, has_jax, in_fresh_process, serve, warn_without_jax
from benchmarks.result import Result, Target
from benchmarks.setting import CELLS, Size
from benchmarks.timing import Way, interleaved, ratio
from gatescope.cells.kernels.layer import NativeLayer

QUESTION = (
    "one layer, forward and backward with the gradients of inputs and weights, float32, all on one pinned "
    "core, in turn: two to ten consecutive steps of each, after one that is not timed, so that each finds "
    "its own data in the caches. ms: medians; gflops: of the matrix products; of_product: gflops relative to "
    "a product of two matrices that fit into the cache, timed in between. gates and adjoint: of all time "
    "steps, by the native kernel, over the native training step"
)
SIZES = (
    Size(50, 32, 100, 64),
    Size(200, 32, 100, 64),
    Size(200, 64, 128, 128),
    Size(784, 64, 1, 128),
    Size(200, 32, 256, 512),
)
RECURRENT, MINIMAL = ("gru", "rnn", "lstm"), ("mingru", "minlstm")
TARGETS = {
    "native over nn, H=64": Target(at_most=0.45),
    "native over nn, H=128": Target(at_most=0.75),
    "native over nn, H=512": Target(at_most=0.9),
    "JAX scan over native, gru": Target(at_least=1.2),
}
PRODUCT, PRODUCTS = 256, 32
"""Size of the square matrices whose product measures the peak rate of the core, and products per timing.

Larger matrices reach a lower rate.
"""
OPERATIONS_PER_TURN = 1e10
"""Operations of the consecutive steps that are timed: two steps, or up to 10 if they are small."""


def measure(
    rounds: int = 5, sizes: tuple[Size, ...] = SIZES, cells: tuple[str, ...] = (*RECURRENT, *MINIMAL)
) -> Result:
    """Run the benchmark."""
    warn_without_jax()
    settings = {"rounds": rounds, "sizes": [asdict(size) for size in sizes]}
    result = Result("recurrence_speed", QUESTION, settings, TARGETS)
    arguments = {"sizes": [astuple(size) for size in sizes], "cells": cells, "rounds": rounds}
    seconds_of_cases = iter(in_fresh_process("benchmarks.recurrence_speed", **arguments))
    for size in sizes:
        for cell in cells:
            add(
                result,
                cell,
                size,
                {way: np.array(seconds) for way, seconds in next(seconds_of_cases).items()},
            )
    return result


def add(result: Result, cell: str, size: Size, seconds: dict[str, np.ndarray]) -> None:
    """Add the rows of a cell and a size."""
    case = case_of(cell, size)
    rate = 2 * PRODUCTS * PRODUCT**3 / np.median(seconds["product"]) / 1e9
    for way in (name for name in seconds if name not in ("product", "gates and adjoint")):
        middle = float(np.median(seconds[way]))
        gflops = operations(cell, size) / middle / 1e9
        values = {"ms": 1e3 * middle, "gflops": gflops, "of_product": gflops / rate}
        result.add_value(case, way, middle / float(np.median(seconds["native"])), **values)
    native = seconds["native"]
    if "nn" in seconds:
        result.add(case, f"native over nn, H={size.hidden}", ratio(native, seconds["nn"]))
    if "JAX scan" in seconds:
        result.add(case, f"JAX scan over native, {cell}", ratio(seconds["JAX scan"], native))
    result.add(case, "gates and adjoint", ratio(seconds["gates and adjoint"], native))


def case_of(cell: str, size: Size) -> str:
    """Return the name of a cell and a size."""
    return f"{cell}, T={size.steps} B={size.batch} D={size.inputs} H={size.hidden}"


def operations(cell: str, size: Size) -> float:
    """Return the operations of the matrix products of a training step.

    There are three products of each kind: forward, gradient by inputs and states, gradient by weights.
    """
    chunks = {"rnn": 1, "gru": 3, "lstm": 4, "mingru": 2, "minlstm": 3}[cell]
    width = size.inputs + (0 if cell in MINIMAL else size.hidden)
    return 6.0 * size.steps * size.batch * chunks * size.hidden * width


def in_a_row(cell: str, size: Size) -> int:
    """Return the number of consecutive steps that are timed."""
    return int(np.clip(OPERATIONS_PER_TURN / operations(cell, size), 2, 10))


def timed(sizes: list[list[int]], cells: list[str], rounds: int) -> list[dict[str, list[float]]]:
    """Return the seconds of each way, for every size and cell."""
    result = []
    for size in (Size(*numbers) for numbers in sizes):
        for cell in cells:
            functions = ways(cell, size)
            freeze_garbage()
            seconds = interleaved(functions, rounds, in_a_row=in_a_row(cell, size))
            result.append({name: values.tolist() for name, values in seconds.items()})
    return result


def ways(cell: str, size: Size) -> dict[str, Way]:
    """Return the timed functions by name."""
    torch.manual_seed(0)
    x = torch.randn(size.batch, size.steps, size.inputs)
    output_grad = torch.randn(size.batch, size.steps, size.hidden)
    native = layer_of(cell, size)
    functions = {"native": lambda: training_step(native, x, output_grad)}
    if cell in MINIMAL:
        for scan in ("log", "sequential"):
            theirs = layer_of(cell, size)
            theirs.kernel, theirs.scan = "torch", scan
            functions[f"{scan} scan"] = lambda theirs=theirs: training_step(theirs, x, output_grad)
    else:
        module = native.fused
        functions["nn"] = lambda: training_step(module, x, output_grad)
        if has_jax():
            functions |= jax_ways(cell, native, x, output_grad)
    a, b = torch.randn(2, PRODUCT, PRODUCT)
    product = torch.empty(PRODUCT, PRODUCT)
    functions["product"] = lambda: [torch.mm(a, b, out=product) for _ in range(PRODUCTS)]
    functions["gates and adjoint"] = lambda: gates_and_adjoint(native, x, output_grad)
    return functions


def layer_of(cell: str, size: Size) -> NativeLayer:
    """Return a layer that uses the native kernel."""
    layer = CELLS[cell](size.inputs, size.hidden)
    assert isinstance(layer, NativeLayer)
    layer.kernel = "native"
    return layer


def training_step(layer: nn.Module, x: Tensor, output_grad: Tensor) -> list[Tensor]:
    """Return the gradients of Σ h ⊙ output_grad by the parameters and by x."""
    x = x.detach().requires_grad_()
    states = layer(x)
    h = states[0] if isinstance(states, tuple) else states.h
    return list(torch.autograd.grad(h, [*layer.parameters(), x], output_grad))


@torch.no_grad()
def gates_and_adjoint(layer: NativeLayer, x: Tensor, output_grad: Tensor) -> object:
    """Return the gates and the adjoint of all time steps."""
    states = layer.trace(x)
    return layer.gates(x, states), layer.adjoint(x, states, output_grad).h


def jax_ways(cell: str, native: NativeLayer, x: Tensor, output_grad: Tensor) -> dict[str, Way]:
    """Return the timed functions of JAX and Keras.

    Raises:
        RuntimeError: The gradients of the scan differ from those of the native kernel, so that their times
            cannot be compared.
    """
    from benchmarks.jax_layers import keras_step, scan_step

    weights = [parameter.detach().numpy() for parameter in native.parameters()]
    scan = scan_step(cell, weights, x.numpy(), output_grad.numpy())
    for theirs, ours in zip(scan(), training_step(native, x, output_grad), strict=True):
        worst = np.abs(np.asarray(theirs) - ours.numpy()).max() / np.abs(ours.numpy()).max()
        if not worst < 1e-3:
            raise RuntimeError(
                f"{cell}: the gradients of the JAX scan differ from those of the native kernel by {worst:.2g}"
            )
    return {"JAX scan": scan, "Keras + JAX": keras_step(cell, x.numpy(), output_grad.numpy())}


if __name__ == "__main__":
    serve(timed)
