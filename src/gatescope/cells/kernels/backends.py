"""Which native kernel runs a layer: C++ on a CPU, Triton on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from gatescope.cells.accelerator import supports_triton
from gatescope.cells.kernels import build, recurrence
from gatescope.cells.kernels.layout import PaddedLayout, layout
from gatescope.cells.kernels.recurrence import BackwardResult, ForwardCache
from gatescope.cells.kernels.weights import Kind

Kernel = Literal["auto", "torch", "native"]
"""native: C++ on a CPU, Triton on a GPU. auto: native in float32 where it can be built and is faster."""

KernelName = Literal["native", "triton", "torch"]
"""What a layer runs on, as run.json records it; native: C++."""


@dataclass(frozen=True)
class Backend:
    """A native kernel.

    Attributes:
        name: as run.json records it.
        layout: from lengths (or None), batch size and steps.
        forward: as `recurrence.forward`.
        backward: as `recurrence.backward`.
    """

    name: Literal["native", "triton"]
    layout: Callable[[Tensor | None, int, int], Any]
    forward: Callable[..., ForwardCache]
    backward: Callable[..., BackwardResult]


CPU = Backend("native", layout, recurrence.forward, recurrence.backward)


@cache
def triton_backend() -> Backend:
    """Return the kernels of a GPU; Triton is imported when they are first needed."""
    from gatescope.cells.kernels.gpu import recurrence as on_gpu

    def padded(lengths: Tensor | None, batch: int, steps: int) -> PaddedLayout:
        return PaddedLayout(steps, batch, lengths)

    return Backend("triton", padded, on_gpu.forward, on_gpu.backward)


def backend(
    kernel: Kernel, kind: Kind, hidden: int, dtype: torch.dtype, device: torch.device, reading: bool = False
) -> Backend | None:
    """Return the native kernel that runs a layer, or None where torch does.

    Args:
        kernel: the option.
        kind: the architecture.
        hidden: H.
        dtype: of the weights.
        device: of the input.
        reading: whether gates and adjoint of the pass will be read. On a GPU the native kernel then is faster
            wherever there is one.
    """
    types = (torch.float32, torch.float64) if kernel == "native" else (torch.float32,)
    # A graph that is exported must consist of operations that the other runtime has.
    exporting = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if kernel == "torch" or dtype not in types or exporting:
        return None
    if device.type == "cpu":
        return CPU if build.available() else None
    if supports_triton(device):
        from gatescope.cells.kernels.gpu.plan import fits, is_faster

        runs = fits if kernel == "native" or reading else is_faster
        return triton_backend() if runs(kind, hidden, dtype.itemsize) else None
    return None
