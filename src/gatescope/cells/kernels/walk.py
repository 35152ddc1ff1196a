"""Calls of the native kernel: one layer and direction, all steps, forwards and backwards."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatescope.cells.base import State
from gatescope.cells.kernels.build import library
from gatescope.cells.kernels.layout import Layout
from gatescope.cells.kernels.weights import Kind, NativeWeights

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
PER_THREAD = 2**26
"""Fewer multiplications than this, a millisecond of them, are not worth a thread of their own."""
POINTWISE = 64
"""Multiplications that a unit's gates are worth."""
VECTOR = 64
"""Bytes that the kernel reads at once, at most."""

_NUMBERS, _PLACES = ctypes.c_int64, ctypes.c_void_p
_FIELDS = (
    (_NUMBERS, "steps batch inputs hidden first stride"),
    (_PLACES, "offsets order x"),
    (_NUMBERS, "x_t x_b"),
    (_PLACES, "bias recurrent_bias shared input_panels panels gates extra h c direct direct_c"),
    (_NUMBERS, "direct_t direct_b direct_c_t direct_c_b"),
    (_PLACES, "deltas carry carry_c arriving total_c logs outside of_x"),
    (_NUMBERS, "of_x_t of_x_b"),
    (_PLACES, "of_w of_u of_bias"),
)


class _Call(ctypes.Structure):
    """`Call` of call.h."""

    _fields_ = tuple((name, kind) for kind, names in _FIELDS for name in names.split())


@dataclass(frozen=True, eq=False)
class Walked:
    """What a forward walk leaves for its readers and for the walk back.

    `gates` (N, chunks·H): a GRU's r, z, n, an LSTM's i, f, g, o, a minGRU's keep and candidate, a minLSTM's
    i, f and candidate; a plain network's is of no use. `extra` (N, H): a GRU's U_n h + b_n, a minGRU's update
    gate, a minLSTM's share kept. Both None where they were not asked for. `h` and `c` (T + 1, B, H): the
    initial state, then every step, 0 at padding.
    """

    kind: Kind
    layout: Layout
    gates: Tensor | None
    extra: Tensor | None
    h: Tensor
    c: Tensor | None

    def outputs(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """h and c (B, T, H) of every step, and h of each sequence's last, (B, H)."""
        c = None if self.c is None else self.c[1:].transpose(0, 1)
        return self.h[1:].transpose(0, 1), c, self.layout.last_of(self.h)


class Gradients(NamedTuple):
    """Of x (B, T, D), if asked for, W, U and the sum of all deltas (widths·H,), if these were."""

    x: Tensor | None = None
    w: Tensor | None = None
    u: Tensor | None = None
    bias: Tensor | None = None


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
    gradients: Gradients = Gradients()


@dataclass(eq=False)
class Watch:
    """What a pass under autograd leaves: its walk forward and, if `wanted` before the backward pass, the walk
    back with the gradients at all states, and those from outside that it began with: (T, B, H) at h and at c,
    and on the last state."""

    walked: Walked | None = None
    wanted: bool = False
    back: Back | None = None
    direct: tuple[Tensor | None, Tensor | None, State | None] = (None, None, None)


def forward(
    weights: NativeWeights,
    x: Tensor,
    initial: tuple[Tensor, Tensor | None],
    layout: Layout,
    gates: bool = True,
) -> Walked:
    """`x` (B, T, D), of the weights' type, and the state before t = 0, (B, H) each.

    Args:
        gates: whether they are kept: for a walk back, or to be read.
    """
    kind, size, dtype = weights.kind, initial[0].shape[-1], weights.w.dtype
    h = _states(initial[0].to(dtype), layout)
    c = None if initial[1] is None else _states(initial[1].to(dtype), layout)
    more = gates and kind in ("gru", "mingru", "minlstm")
    walked = Walked(
        kind,
        layout,
        h.new_empty(layout.rows, CHUNKS[kind] * size) if gates else None,
        h.new_empty(layout.rows, size) if more else None,
        h,
        c,
    )
    given = {
        "x": _rows(x.transpose(0, 1)),
        "bias": weights.bias.contiguous(),
        "recurrent_bias": _whole(weights.recurrent_bias),
        "shared": _whole(weights.per_unit),
        **_packed(kind, "forward", weights.w, weights.u),
    }
    sizes, threads = (x.shape[-1], size), _threads(layout, weights)
    _run(f"{kind}_{_type(h)}_forward", layout, sizes, given | _left(walked), threads)
    return walked


def _left(walked: Walked) -> dict[str, Tensor | None]:
    return {"gates": walked.gates, "extra": walked.extra, "h": walked.h, "c": walked.c}


def backward(
    walked: Walked,
    weights: NativeWeights,
    direct: Tensor | None,
    direct_c: Tensor | None = None,
    last: State | None = None,
    deltas: bool = False,
    states: bool = False,
    renormalise: bool = False,
    outside: Tensor | None = None,
    x: Tensor | None = None,
    of_x: bool = False,
    of_weights: bool = False,
) -> Back:
    """INSTRUMENTS.md §2.

    Args:
        direct, direct_c: (T, B, H), the gradients from outside the layer.
        last: (B, H) each, those on each sequence's last state beside that.
        deltas, states: which gradients to keep.
        outside: (T, B), with `renormalise`: `direct` and `direct_c` are times its exponential.
        x: (B, T, D) of the walk forward, for the gradients by it (`of_x`) and by the weights (`of_weights`).
    """
    kind, layout, like = walked.kind, walked.layout, walked.h
    steps, batch, size = layout.steps, layout.batch, like.shape[-1]
    memory, threads = walked.c is not None, _threads(layout, weights)
    last_h, last_c = (None, None) if last is None else last
    carry = _start(like, last_h)
    found: dict[str, Tensor | None] = {
        "carry": carry,
        "carry_c": _start(like, last_c) if memory else None,
        # Several threads leave them to one another.
        "deltas": _deltas(walked, size) if deltas or (of_weights and threads > 1) else None,
        "arriving": _room(walked, steps, batch, size) if states else None,
        "total_c": _room(walked, steps, batch, size) if states and memory else None,
        "logs": _room(walked, steps, batch, dtype=torch.float64) if renormalise else None,
    }
    gradients = _gradients(walked, weights, of_x, of_weights)
    given = {
        "x": None if x is None else _rows(x.transpose(0, 1)),
        "direct": None if direct is None else _rows(direct),
        "direct_c": None if direct_c is None else _rows(direct_c),
        "outside": None if outside is None else outside.to(torch.float64).contiguous(),
        "shared": _whole(weights.per_unit),
        **_packed(kind, "backward", weights.w if of_x else None, weights.u),
    }
    tensors, sizes = _left(walked) | given | found | gradients, (weights.w.shape[-1], size)
    _run(f"{kind}_{_type(like)}_backward", layout, sizes, tensors, threads)
    if of_weights and threads > 1:
        _run(f"{kind}_{_type(like)}_gradients", layout, sizes, tensors, threads)
    *turned, of_bias = gradients.values()
    by_x, by_w, by_u = (None if part is None else part.transpose(0, 1) for part in turned)
    arriving, total_c, logs = found["arriving"], found["total_c"], found["logs"]
    of_everything = Gradients(by_x, by_w, by_u, of_bias)
    return Back(carry, found["carry_c"], found["deltas"], arriving, total_c, logs, of_everything)


def _start(like: Tensor, last: Tensor | None) -> Tensor:
    """What enters at a sequence's last step is there before its walk begins."""
    return torch.zeros_like(like[0]) if last is None else last.to(like.dtype, copy=True).contiguous()


def _room(walked: Walked, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    # Where nothing is padded every number is written.
    make = walked.h.new_empty if walked.layout.index is None else walked.h.new_zeros
    return make(shape, dtype=dtype)


def _gradients(
    walked: Walked, weights: NativeWeights, of_x: bool, of_weights: bool
) -> dict[str, Tensor | None]:
    """Room for them, all but the bias' turned round: of x (T, B, D), W (D, chunks·H) and U (H, chunks·H)."""
    (width, inputs), size, zeros = weights.w.shape, walked.h.shape[-1], walked.h.new_zeros
    batch, steps = walked.layout.batch, walked.layout.steps
    return {
        "of_x": _room(walked, batch, steps, inputs).transpose(0, 1) if of_x else None,
        "of_w": zeros(inputs, width) if of_weights else None,
        "of_u": zeros(size, width) if of_weights and weights.u is not None else None,
        "of_bias": zeros(_widths(walked.kind) * size) if of_weights else None,
    }


def _states(initial: Tensor, layout: Layout) -> Tensor:
    """(T + 1, B, H) with the initial state in front, 0 where no step will write."""
    make = initial.new_empty if layout.index is None else initial.new_zeros
    states = make(layout.steps + 1, *initial.shape)
    states[0] = initial
    return states


def _deltas(walked: Walked, size: int) -> Tensor:
    """(N, widths·H), with room for a vector behind."""
    width, like = _widths(walked.kind) * size, walked.h
    room = like.new_empty(walked.layout.rows * width + VECTOR // like.itemsize)
    return room[: walked.layout.rows * width].view(-1, width)


def _widths(kind: Kind) -> int:
    return 4 if kind == "gru" else CHUNKS[kind]


def _rows(values: Tensor) -> Tensor:
    """With rows that lie in one piece; the strides of time and batch may be any."""
    return values if values.stride(-1) == 1 else values.contiguous()


def _whole(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.contiguous()


def _type(values: Tensor) -> str:
    return {torch.float32: "float32", torch.float64: "float64"}[values.dtype]


def _packed(kind: Kind, way: str, w: Tensor | None, u: Tensor | None) -> dict[str, Tensor | None]:
    """W and U in the order that a walk reads them."""
    w, u = _whole(w), _whole(u)
    like = w if w is not None else u
    if like is None:
        return {}
    type_, size = _type(like), like.shape[0] // CHUNKS[kind]
    ends = 0 if w is None else _packed_size(way, type_, kind, *w.shape)
    packed = like.new_empty(ends + (0 if u is None else _packed_size(way, type_, kind, *u.shape)))
    places = (None if part is None else part.data_ptr() for part in (w, u))
    _function(f"{kind}_{type_}_pack_{way}")(*places, 0 if w is None else w.shape[1], size, packed.data_ptr())
    return {"input_panels": packed, "panels": packed[ends:]}


@cache
def _packed_size(way: str, type_: str, kind: Kind, rows: int, width: int) -> int:
    """Numbers of a packed (rows, width)."""
    chunks = CHUNKS[kind]
    shape = (chunks, rows // chunks, width) if way == "forward" else (rows, width)
    count: int = _function(f"{way}_size_{type_}")(*shape)
    return count


@cache
def _function(name: str) -> Any:
    function, place, number = library()[name], ctypes.c_void_p, ctypes.c_int64
    if "_size_" in name:
        function.argtypes, function.restype = [number] * (3 if "forward" in name else 2), number
    elif "_pack_" in name:
        function.argtypes, function.restype = [place, place, number, number, place], None
    else:
        function.argtypes, function.restype = [ctypes.POINTER(_Call)], None
    return function


def _run(
    name: str, layout: Layout, sizes: tuple[int, int], tensors: Mapping[str, Tensor | None], threads: int
) -> None:
    """Threads share a batch by its rows, each all the steps of its own: none waits for another."""
    function = _function(name)
    places: dict[str, int] = {n: v.data_ptr() for n, v in tensors.items() if v is not None}
    for strided in ("x", "direct", "direct_c", "of_x"):
        if (values := tensors.get(strided)) is not None:
            places[f"{strided}_t"], places[f"{strided}_b"], _ = values.stride()
    places["offsets"], places["order"] = layout.offsets.data_ptr(), layout.order.data_ptr()
    first = (layout.steps, layout.batch, *sizes)
    calls = [_Call(*first, thread, threads, **places) for thread in range(threads)]
    if threads == 1:
        function(calls[0])
    else:
        list(_pool(threads).map(function, calls))


def _threads(layout: Layout, weights: NativeWeights) -> int:
    width, inputs = weights.w.shape
    met = 0 if weights.u is None else weights.u.shape[1]
    worth = layout.rows * width * (inputs + met + POINTWISE) // PER_THREAD
    return max(1, min(torch.get_num_threads(), layout.batch, worth))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="recurrence")
