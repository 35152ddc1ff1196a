"""Calls of the native kernel: one layer and direction, all steps, forwards and backwards."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gatescope.cells.base import State
from gatescope.cells.kernels.build import library
from gatescope.cells.kernels.layout import Layout

Kind = Literal["tanh", "relu", "gru", "lstm", "peephole", "mingru", "minlstm"]
CHUNKS: dict[Kind, int] = {
    "tanh": 1,
    "relu": 1,
    "gru": 3,
    "lstm": 4,
    "peephole": 4,
    "mingru": 2,
    "minlstm": 3,
}
"""Blocks of H rows in the weights."""
PER_THREAD = 2**16
"""Fewer numbers than this are not worth a thread of their own."""

_COUNTS = ("steps", "batch", "hidden", "first", "stride")
_BUFFERS = ("offsets", "order", "fed", "extra", "h", "c", "shared", "panels", "direct", "direct_c")
_STRIDES = ("direct_t", "direct_b", "direct_c_t", "direct_c_b")
_RESULTS = ("deltas", "carry", "carry_c", "arriving", "total_c", "logs", "outside")


class _Call(ctypes.Structure):
    """`Call` of recurrence.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _COUNTS),
        *((name, ctypes.c_void_p) for name in _BUFFERS),
        *((name, ctypes.c_int64) for name in _STRIDES),
        *((name, ctypes.c_void_p) for name in _RESULTS),
    )


@dataclass(frozen=True, eq=False)
class Walked:
    """What a forward walk leaves for its readers and for the walk back.

    `gates` (N, chunks·H): a GRU's r, z, n, an LSTM's i, f, g, o, a minGRU's keep and candidate, a minLSTM's
    i, f and candidate; a plain network's is of no use. `extra` (N, H): a GRU's U_n h + b_n, a minLSTM's share
    kept. `h` and `c` (T + 1, B, H): the initial state, then every step, 0 at padding.
    """

    kind: Kind
    layout: Layout
    gates: Tensor
    extra: Tensor | None
    h: Tensor
    c: Tensor | None


class Back(NamedTuple):
    """`initial` and `initial_c` (B, H): ∂L/∂state before t = 0. If asked for: `deltas` (N, chunks·H), for a
    GRU (N, 4H) with what the recurrent weights meet of the candidate at the end; `h`, `c` (T, B, H), ∂L/∂h_t
    and ∂L/∂c_t in full; all times exp of `logs` (T, B) with renormalisation."""

    initial: Tensor
    initial_c: Tensor | None
    deltas: Tensor | None
    h: Tensor | None
    c: Tensor | None
    logs: Tensor | None


@dataclass(eq=False)
class Watch:
    """What a pass under autograd leaves: its walk forward and, if `wanted` before the backward pass, the walk
    back with the gradients at all states."""

    walked: Walked | None = None
    wanted: bool = False
    back: Back | None = None


@torch.no_grad()
def forward(
    kind: Kind,
    fed: Tensor,
    u: Tensor | None,
    shared: Tensor | None,
    initial: tuple[Tensor, Tensor | None],
    layout: Layout,
) -> Walked:
    """`fed` (N, chunks·H), the input's share of the pre-activations, is overwritten by the gates."""
    size = initial[0].shape[-1]
    h = _states(initial[0], layout)
    c = None if initial[1] is None else _states(initial[1], layout)
    extra = fed.new_empty(len(fed), size) if kind in ("gru", "minlstm") else None
    panels = None if u is None else _packed(kind, "forward", u)
    shared = None if shared is None else shared.contiguous()
    buffers: dict[str, Tensor | None] = {"fed": fed, "extra": extra, "h": h, "c": c}
    _run(kind, "forward", layout, size, buffers | {"shared": shared, "panels": panels})
    return Walked(kind, layout, fed, extra, h, c)


@torch.no_grad()
def backward(
    walked: Walked,
    u: Tensor | None,
    shared: Tensor | None,
    direct: Tensor | None,
    direct_c: Tensor | None = None,
    last: State | None = None,
    deltas: bool = True,
    states: bool = False,
    renormalise: bool = False,
    outside: Tensor | None = None,
) -> Back:
    """INSTRUMENTS.md §2.

    Args:
        direct, direct_c: (T, B, H), the gradients from outside the layer.
        last: (B, H) each, those on each sequence's last state beside that.
        deltas, states: which gradients to keep.
        outside: (T, B), with `renormalise`: `direct` and `direct_c` are times its exponential.
    """
    kind, layout, like = walked.kind, walked.layout, walked.h
    steps, batch, size = layout.steps, layout.batch, like.shape[-1]
    memory = walked.c is not None
    widths = 4 if kind == "gru" else CHUNKS[kind]

    def room(wanted: bool, *shape: int, dtype: torch.dtype = like.dtype) -> Tensor | None:
        # Where nothing is padded every number is written.
        make = torch.empty if layout.index is None else torch.zeros
        return make(shape, dtype=dtype) if wanted else None

    # What enters at a sequence's last step is there before its walk begins.
    start: tuple[Tensor | None, Tensor | None] = (None, None) if last is None else last
    carry, carry_c = (torch.zeros_like(like[0]) for _ in start)
    for place, part in zip((carry, carry_c), start, strict=True):
        if part is not None:
            place.copy_(part)
    found = {
        "carry": carry,
        "carry_c": carry_c if memory else None,
        "deltas": room(deltas, len(walked.gates), widths * size),
        "arriving": room(states, steps, batch, size),
        "total_c": room(states and memory, steps, batch, size),
        "logs": room(renormalise, steps, batch, dtype=torch.float64),
    }
    given = {
        "direct": _rows(direct),
        "direct_c": _rows(direct_c),
        "outside": None if outside is None else outside.to(torch.float64).contiguous(),
        "shared": None if shared is None else shared.contiguous(),
        "panels": None if u is None else _packed(kind, "backward", u),
    }
    kept = {"fed": walked.gates, "extra": walked.extra, "h": walked.h, "c": walked.c}
    _run(kind, "backward", layout, size, kept | given | found)
    return Back(carry, found["carry_c"], found["deltas"], found["arriving"], found["total_c"], found["logs"])


def _states(initial: Tensor, layout: Layout) -> Tensor:
    """(T + 1, B, H) with the initial state in front, 0 where no step will write."""
    make = torch.empty if layout.index is None else torch.zeros
    states = make(layout.steps + 1, *initial.shape, dtype=initial.dtype)
    states[0] = initial
    return states


def _rows(values: Tensor | None) -> Tensor | None:
    """With rows that lie in one piece; the strides of time and batch may be any."""
    return values if values is None or values.stride(-1) == 1 else values.contiguous()


def _type(values: Tensor) -> str:
    return {torch.float32: "float32", torch.float64: "float64"}[values.dtype]


def _packed(kind: Kind, way: str, u: Tensor) -> Tensor:
    """U in the order that a walk reads it."""
    size = u.shape[1]
    count = _function(f"packed_size_{_type(u)}")(CHUNKS[kind], size)
    packed, u = u.new_empty(count), u.contiguous()
    _function(f"{kind}_{_type(u)}_pack_{way}")(u.data_ptr(), size, packed.data_ptr())
    return packed


@cache
def _function(name: str) -> Any:
    function = library()[name]
    if name.startswith("packed_size"):
        function.argtypes, function.restype = [ctypes.c_int64, ctypes.c_int64], ctypes.c_int64
    elif "pack" in name.rsplit("_", 2)[-2]:
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p], None
    else:
        function.argtypes, function.restype = [ctypes.POINTER(_Call)], None
    return function


def _run(kind: Kind, way: str, layout: Layout, size: int, tensors: dict[str, Tensor | None]) -> None:
    """Threads share a batch by its rows, each all the steps of its own: none waits for another."""
    function: Callable[[Any], None] = _function(f"{kind}_{_type(tensors['h'])}_{way}")  # type: ignore[arg-type]
    places: dict[str, int | None] = {n: None if v is None else v.data_ptr() for n, v in tensors.items()}
    for name in ("direct", "direct_c"):
        if (values := tensors.get(name)) is not None:
            places[f"{name}_t"], places[f"{name}_b"] = values.stride(0), values.stride(1)
    places["offsets"], places["order"] = layout.offsets.data_ptr(), layout.order.data_ptr()
    threads = _threads(layout, size)
    calls = [_Call(layout.steps, layout.batch, size, first, threads, **places) for first in range(threads)]
    if threads == 1:
        function(calls[0])
    else:
        list(_pool(threads).map(function, calls))


def _threads(layout: Layout, size: int) -> int:
    numbers = int(layout.offsets[-1]) * size
    return max(1, min(torch.get_num_threads(), layout.batch, numbers // PER_THREAD))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="recurrence")
