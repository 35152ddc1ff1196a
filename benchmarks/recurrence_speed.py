"""A training step of one recurrent layer: torch's, the native kernel's, a jitted JAX scan's, Keras'."""

from __future__ import annotations

from dataclasses import asdict, astuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.one_core import forget_garbage, has_jax, in_fresh_process, say_what_is_missing, serve
from benchmarks.result import Bar, Result
from benchmarks.setting import CELLS, Size
from benchmarks.timing import Way, interleaved, ratio
from gatescope.cells.kernels.layer import NativeLayer

QUESTION = (
    "one layer, forward and backward with the gradients of inputs and weights, float32, all on one pinned "
    "core, in turn: two to ten steps of each in a row, after one that is not timed, so that each finds its "
    "own caches. ms: medians; gflops: of its matrix products; of_product: those over what a product of "
    "two matrices that fit the cache reaches in between. gates and adjoint: of all steps, by the native "
    "walk, over the native training step"
)
SIZES = (
    Size(50, 32, 100, 64),
    Size(200, 32, 100, 64),
    Size(200, 64, 128, 128),
    Size(784, 64, 1, 128),
    Size(200, 32, 256, 512),
)
RECURRENT, MINIMAL = ("gru", "rnn", "lstm"), ("mingru", "minlstm")
BARS = {
    "native over nn, H=64": Bar(at_most=0.45),
    "native over nn, H=128": Bar(at_most=0.75),
    "native over nn, H=512": Bar(at_most=0.9),
    "JAX scan over native, gru": Bar(at_least=1.2),
}
PRODUCT, PRODUCTS = 256, 32
"""Rows and columns of the matrices whose product is what the core can do: larger ones reach less. And how
many products are timed at once."""
ENOUGH = 1e10
"""Operations that are worth a turn: of smaller steps a turn has more than two, up to 10."""


def measure(
    rounds: int = 5, sizes: tuple[Size, ...] = SIZES, cells: tuple[str, ...] = (*RECURRENT, *MINIMAL)
) -> Result:
    say_what_is_missing()
    settings = {"rounds": rounds, "sizes": [asdict(size) for size in sizes]}
    result = Result("recurrence_speed", QUESTION, settings, BARS)
    asked = {"sizes": [astuple(size) for size in sizes], "cells": cells, "rounds": rounds}
    found = iter(in_fresh_process("benchmarks.recurrence_speed", **asked))
    for size in sizes:
        for cell in cells:
            add(result, cell, size, {way: np.array(seconds) for way, seconds in next(found).items()})
    return result


def add(result: Result, cell: str, size: Size, seconds: dict[str, np.ndarray]) -> None:
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
    return f"{cell}, T={size.steps} B={size.batch} D={size.inputs} H={size.hidden}"


def operations(cell: str, size: Size) -> float:
    """Of the matrix products of a training step: forward, by the inputs and states, and by the weights."""
    chunks = {"rnn": 1, "gru": 3, "lstm": 4, "mingru": 2, "minlstm": 3}[cell]
    read = size.inputs + (0 if cell in MINIMAL else size.hidden)
    return 6.0 * size.steps * size.batch * chunks * size.hidden * read


def in_a_row(cell: str, size: Size) -> int:
    """Steps of a turn."""
    return int(np.clip(ENOUGH / operations(cell, size), 2, 10))


def timed(sizes: list[list[int]], cells: list[str], rounds: int) -> list[dict[str, list[float]]]:
    """Seconds of each way, for every size and cell."""
    found = []
    for size in (Size(*numbers) for numbers in sizes):
        for cell in cells:
            every = ways(cell, size)
            forget_garbage()
            seconds = interleaved(every, rounds, in_a_row=in_a_row(cell, size))
            found.append({name: values.tolist() for name, values in seconds.items()})
    return found


def ways(cell: str, size: Size) -> dict[str, Way]:
    torch.manual_seed(0)
    x = torch.randn(size.batch, size.steps, size.inputs)
    direct = torch.randn(size.batch, size.steps, size.hidden)
    native = layer_of(cell, size)
    found = {"native": lambda: training_step(native, x, direct)}
    if cell in MINIMAL:
        for scan in ("log", "sequential"):
            theirs = layer_of(cell, size)
            theirs.kernel, theirs.scan = "torch", scan
            found[f"{scan} scan"] = lambda theirs=theirs: training_step(theirs, x, direct)
    else:
        module = native.fused
        found["nn"] = lambda: training_step(module, x, direct)
        if has_jax():
            found |= jax_ways(cell, native, x, direct)
    a, b = torch.randn(2, PRODUCT, PRODUCT)
    product = torch.empty(PRODUCT, PRODUCT)
    found["product"] = lambda: [torch.mm(a, b, out=product) for _ in range(PRODUCTS)]
    found["gates and adjoint"] = lambda: gates_and_adjoint(native, x, direct)
    return found


def layer_of(cell: str, size: Size) -> NativeLayer:
    layer = CELLS[cell](size.inputs, size.hidden)
    assert isinstance(layer, NativeLayer)
    layer.kernel = "native"
    return layer


def training_step(layer: nn.Module, x: Tensor, direct: Tensor) -> list[Tensor]:
    """Gradients of Σ h ⊙ direct by the parameters and by x."""
    x = x.detach().requires_grad_()
    states = layer(x)
    h = states[0] if isinstance(states, tuple) else states.h
    return list(torch.autograd.grad(h, [*layer.parameters(), x], direct))


@torch.no_grad()
def gates_and_adjoint(layer: NativeLayer, x: Tensor, direct: Tensor) -> object:
    states = layer.trace(x)
    return layer.gates(x, states), layer.adjoint(x, states, direct).h


def jax_ways(cell: str, native: NativeLayer, x: Tensor, direct: Tensor) -> dict[str, Way]:
    """
    Raises:
        RuntimeError: the scan's gradients are not the native kernel's: another thing would be measured.
    """
    from benchmarks.jax_layers import keras_step, scan_step

    weights = [parameter.detach().numpy() for parameter in native.parameters()]
    scan = scan_step(cell, weights, x.numpy(), direct.numpy())
    for theirs, ours in zip(scan(), training_step(native, x, direct), strict=True):
        worst = np.abs(np.asarray(theirs) - ours.numpy()).max() / np.abs(ours.numpy()).max()
        if not worst < 1e-3:
            raise RuntimeError(
                f"{cell}: the JAX scan's gradients differ from the native kernel's by {worst:.2g}"
            )
    return {"JAX scan": scan, "Keras + JAX": keras_step(cell, x.numpy(), direct.numpy())}


if __name__ == "__main__":
    serve(timed)
