"""Time of a training step of one recurrent layer on a GPU: cuDNN, torch's operations, the native kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks import recurrence_speed
from benchmarks.gpu_result import RESULTS, Case, GPUResult, NotAvailable, device_of, run_cases
from benchmarks.gpu_timing import tf32, timed
from benchmarks.recurrence_speed import RECURRENT, case_of
from benchmarks.setting import CELLS, Size
from gatescope.cells import scan
from gatescope.cells.kernels.layer import NativeLayer
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.rglru import RGLRU

QUESTION = (
    "one layer, forward and backward with the gradients of inputs and weights. nn: the bare module of torch "
    "(cuDNN); torch: our layer with kernel=torch, which calls cuDNN where it has the cell and otherwise "
    "loops or scans; native: our layer with kernel=native. float32: without TF32; tf32: with it; bf16: "
    "autocast. "
    "ms: median, low_ms and high_ms: quartiles; first_s: the first call, which compiles. "
    "`native over torch` is what kernel=auto is decided from"
)
LARGE_BATCHES = (Size(200, 256, 100, 64), Size(200, 512, 128, 128))
SIZES = (*recurrence_speed.SIZES, *LARGE_BATCHES, Size(1024, 16, 768, 768))
OTHER_CELLS = ("peephole_lstm", "gru_article", "mingru", "minlstm", "rglru")
OTHER_SIZES = (Size(200, 64, 128, 128), Size(200, 32, 256, 512))
SMALL = (Size(6, 4, 3, 5),)
PRECISIONS = ("float32", "bf16", "tf32")
ALL_CELLS = {**CELLS, "rglru": RGLRU}


def measure(
    device: str = "cuda",
    seconds: float = 65.0,
    out: Path = RESULTS,
    after: int = 0,
    cells: tuple[str, ...] = (*RECURRENT, *OTHER_CELLS),
    sizes: tuple[Size, ...] | None = None,
) -> GPUResult:
    """Run the benchmark."""
    where = device_of(device)
    sizes = sizes or (SIZES if device == "cuda" else SMALL)
    others = OTHER_SIZES if device == "cuda" else sizes
    settings = {"sizes": [asdict(size) for size in sizes], "other_sizes": [asdict(size) for size in others]}
    result = GPUResult("gpu_recurrence", QUESTION, settings, device=device, seconds=seconds)
    return run_cases(result, list(cases(result, where, cells, sizes, others)), out, after)


def cases(
    result: GPUResult,
    device: torch.device,
    cells: tuple[str, ...],
    sizes: tuple[Size, ...],
    others: tuple[Size, ...],
) -> Iterator[Case]:
    """Yield the cases: float32 first, and of each precision the cells of cuDNN first."""
    for precision in PRECISIONS:
        for group, ways, chosen in (
            (RECURRENT, ("nn", "torch", "native"), sizes),
            (OTHER_CELLS, ("torch", "native"), others),
        ):
            for size in chosen:
                for cell in (cell for cell in group if cell in cells):
                    for way in ways:
                        name = f"{case_of(cell, size)}, {precision}"
                        add = partial(add_row, result, name, way, cell, size, precision, device)
                        yield Case(f"{name}, {way}", add)


def add_row(
    result: GPUResult, name: str, way: str, cell: str, size: Size, precision: str, device: torch.device
) -> None:
    """Measure one way of one case and add its row.

    Raises:
        NotAvailable: The native kernel does not run here.
    """
    torch.manual_seed(0)
    x = torch.randn(size.batch, size.steps, size.inputs, device=device)
    output_grad = torch.randn(size.batch, size.steps, size.hidden, device=device)
    module = module_of(way, cell, size, x)
    # The scan of an RG-LRU is no option of the layer.
    kernels = patch.object(scan, "has_kernel", return_value=False) if way == "torch" else nullcontext()
    with tf32(precision == "tf32"), kernels:
        timing = timed(lambda: training_step(module, x, output_grad, precision), device)
    values = timing.columns()
    shape = {"way": way, "cell": cell, "precision": precision, **asdict(size)}
    base = {"native": "torch", "torch": "nn"}.get(way)
    against = next((r for r in result.rows if r["case"] == name and r["way"] == base), None)
    if against is None:
        result.add_value(name, way, 1.0, **shape, **values)
    else:
        result.add_value(name, f"{way} over {base}", values["ms"] / against["ms"], **shape, **values)


def module_of(way: str, cell: str, size: Size, x: Tensor) -> nn.Module:
    """Return the module that is timed.

    Raises:
        NotAvailable: The native kernel does not run here.
    """
    layer = layer_of(cell, size, x)
    if way == "nn":
        fused = layer.fused
        assert isinstance(fused, nn.Module)
        return fused
    use_kernel(layer, way, x)
    return layer


def layer_of(cell: str, size: Size, x: Tensor) -> RecurrentLayer:
    """Return a layer on the device and of the type of x, with the weights of a fixed seed."""
    torch.manual_seed(0)
    return ALL_CELLS[cell](size.inputs, size.hidden).to(x.device, x.dtype)


def use_kernel(layer: RecurrentLayer, kernel: str, x: Tensor) -> None:
    """Set the kernel of a layer.

    Raises:
        NotAvailable: "native" is asked for and does not run here.
    """
    if isinstance(layer, NativeLayer):
        layer.kernel = kernel
        natively = layer.runs_natively(x)
    else:
        natively = scan.has_kernel(x.device)
    if kernel == "native" and not natively:
        raise NotAvailable("there is no native kernel for this cell, size and device")


def training_step(module: nn.Module, x: Tensor, output_grad: Tensor, precision: str) -> list[Tensor]:
    """Return the gradients of Σ h ⊙ output_grad by the parameters and by x."""
    x = x.detach().requires_grad_()
    with ExitStack() as stack:
        if precision == "bf16":
            stack.enter_context(torch.autocast(x.device.type, torch.bfloat16))
        states = module(x)
    h = states[0] if isinstance(states, tuple) else states.h
    return list(torch.autograd.grad(h, [*module.parameters(), x], output_grad.to(h.dtype)))
