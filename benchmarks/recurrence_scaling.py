"""Scaling of the native kernel and of the module of torch with time steps, sequences, units and threads."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import torch

from benchmarks.one_core import cores, freeze_garbage, in_fresh_process, serve
from benchmarks.recurrence_speed import case_of, in_a_row, layer_of, operations, training_step
from benchmarks.result import Result
from benchmarks.setting import Size
from benchmarks.timing import interleaved, ratio

QUESTION = (
    "a training step of one layer, with T, B or H varied and the others fixed; native over nn, with up to "
    "ten consecutive steps of each. ms, nn_ms: medians. 2 threads: each kernel on two cores over itself on "
    "one"
)
MIDDLE = Size(100, 32, 64, 64)
GROWTH = {"steps": (25, 100, 400, 1600), "batch": (1, 8, 32, 128, 512), "hidden": (32, 64, 128, 256, 512)}
LETTERS = {"steps": "T", "batch": "B", "hidden": "H"}
THREADED = (Size(50, 32, 100, 64), Size(200, 64, 128, 128), Size(200, 32, 256, 512))


def measure(
    rounds: int = 3,
    cells: tuple[str, ...] = ("gru",),
    growth: dict[str, tuple[int, ...]] | None = None,
    threaded: tuple[Size, ...] = THREADED,
) -> Result:
    """Run the benchmark."""
    growth = growth or GROWTH
    settings = {"rounds": rounds, "middle": astuple(MIDDLE), "growth": growth, "cores": cores()}
    result = Result("recurrence_scaling", QUESTION, settings)
    for cell in cells:
        cases = sizes(growth)
        for (case, size), found in zip(
            cases.items(), _seconds(cell, list(cases.values()), rounds, 1), strict=True
        ):
            compared = ratio(np.array(found["native, 1"]), np.array(found["nn, 1"]))
            native, module = 1e3 * compared.seconds_over, 1e3 * compared.seconds_under
            gflops = operations(cell, size) / native / 1e6
            values = {"ms": native, "nn_ms": module, "low": compared.low, "high": compared.high}
            result.add_value(f"{cell}, {case}", case.split("=")[0], compared.median, **values, gflops=gflops)
        if cores() > 1:
            _add_threads(result, cell, threaded, _seconds(cell, list(threaded), rounds, 2))
        else:
            print("two threads are not measured, because this process may use only one core")
    return result


def sizes(growth: dict[str, tuple[int, ...]]) -> dict[str, Size]:
    """Return the sizes by case, such as T=25."""
    return {
        f"{LETTERS[name]}={value}": replace(MIDDLE, **{name: value})
        for name, values in growth.items()
        for value in values
    }


def _add_threads(
    result: Result, cell: str, sizes: tuple[Size, ...], seconds: list[dict[str, list[float]]]
) -> None:
    for size, found in zip(sizes, seconds, strict=True):
        for way in ("native", "nn"):
            result.add(
                case_of(cell, size),
                f"2 threads, {way}",
                ratio(*(np.array(found[f"{way}, {n}"]) for n in (2, 1))),
            )


def _seconds(cell: str, sizes: list[Size], rounds: int, threads: int) -> list[dict[str, list[float]]]:
    arguments = {
        "cell": cell,
        "sizes": [astuple(size) for size in sizes],
        "rounds": rounds,
        "threads": threads,
    }
    return in_fresh_process("benchmarks.recurrence_scaling", **arguments)


def timed(cell: str, sizes: list[list[int]], rounds: int, threads: int) -> list[dict[str, list[float]]]:
    """Return the seconds of each kernel on 1 to `threads` threads, for every size."""
    return [_timed(cell, Size(*size), rounds, threads) for size in sizes]


def _timed(cell: str, size: Size, rounds: int, threads: int) -> dict[str, list[float]]:
    torch.manual_seed(0)
    x = torch.randn(size.batch, size.steps, size.inputs)
    output_grad = torch.randn(size.batch, size.steps, size.hidden)
    native = layer_of(cell, size)

    def step(layer: torch.nn.Module, count: int) -> None:
        torch.set_num_threads(count)
        training_step(layer, x, output_grad)

    functions = {
        f"{name}, {count}": lambda layer=layer, count=count: step(layer, count)
        for count in range(1, threads + 1)
        for name, layer in (("native", native), ("nn", native.fused))
    }
    freeze_garbage()
    seconds = interleaved(functions, rounds, in_a_row=in_a_row(cell, size))
    return {name: found.tolist() for name, found in seconds.items()}


if __name__ == "__main__":
    serve(timed)
