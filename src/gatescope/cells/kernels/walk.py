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
from gatescope.cells.kernels.weights import FORMS, Kind, NativeWeights

PER_THREAD = 2**26
"""Fewer multiplications than this, a millisecond of them, are not worth a thread of their own."""
POINTWISE = 64
"""Multiplications that a unit's gates are worth."""

_NUMBERS, _PLACES = ctypes.c_int64, ctypes.c_void_p
_FIELDS = (
    (_NUMBERS, "steps batch inputs hidden first stride"),
    (_PLACES, "offsets order x"),
    (_NUMBERS, "x_b x_t"),
    (_PLACES, "w u bias recurrent_bias peepholes panels gates extra h c initial initial_c"),
    (_PLACES, "last last_c direct direct_c"),
    (_NUMBERS, "direct_b direct_t direct_c_b direct_c_t"),
    (_PLACES, "deltas carry carry_c arriving total_c logs outside of_x"),
    (_NUMBERS, "of_x_b of_x_t"),
    (_PLACES, "of_w of_u of_bias"),
)


class _Call(ctypes.Structure):
    """`Call` of call.h."""

    _fields_ = tuple((name, kind) for kind, names in _FIELDS for name in names.split())


@dataclass(frozen=True, eq=False)
class Walked:
    """What a forward walk leaves for its readers and for the walk back.

    `gates` (N, chunks·H): a GRU's r, z, n, an LSTM's i, f, g, o, a minGRU's keep and candidate, a minLSTM's
    shares written and kept and candidate. `extra` (N, H): a GRU's U_n h + b_n, a minGRU's update gate, a
    minLSTM's i + f.
    Both None where the cell has none or they were not asked for. `h` and `c` (T + 1, B, H): the initial
    state, then every step, 0 at padding.
    """

    kind: Kind
    layout: Layout
    gates: Tensor | None
    extra: Tensor | None
    h: Tensor
    c: Tensor | None

    @property
    def initial(self) -> State:
        """(B, H) each: the state before t = 0."""
        return State(self.h[0], None if self.c is None else self.c[0])

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
    back with the gradients at all states, and those from outside that it began with: (B, T, H) at h and at c,
    and on the last state."""

    walked: Walked | None = None
    wanted: bool = False
    back: Back | None = None
    direct: tuple[Tensor | None, Tensor | None, State | None] = (None, None, None)


def forward(
    weights: NativeWeights, x: Tensor, initial: State | None, layout: Layout, gates: bool = True
) -> Walked:
    """`x` (B, T, D), of the weights' type, and the state before t = 0, (B, H) each; None: 0.

    Args:
        gates: whether they are kept: for a walk back, or to be read.
    """
    kind, new, size = weights.kind, weights.w.new_empty, weights.units
    chunks, _, has_gates, has_extra, memory = FORMS[kind]
    start, start_c = initial or (None, None)
    walked = Walked(
        kind,
        layout,
        new(layout.rows, chunks * size) if gates and has_gates else None,
        new(layout.rows, size) if gates and has_extra else None,
        new(layout.steps + 1, layout.batch, size),
        new(layout.steps + 1, layout.batch, size) if memory else None,
    )
    given = {"x": _rows(x), "initial": _like(weights.w, start), "initial_c": _like(weights.w, start_c)}
    _run("forward", weights, layout, _read(weights) | _left(walked) | given)
    return walked


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
        direct, direct_c: (B, T, H), the gradients from outside the layer.
        last: (B, H) each, those on each sequence's last state beside that.
        deltas, states: which gradients to keep.
        outside: (B, T), with `renormalise`: `direct` and `direct_c` are times its exponential.
        x: (B, T, D) of the walk forward, for the gradients by it (`of_x`) and by the weights (`of_weights`).
    """
    layout, like, memory = walked.layout, walked.h, walked.c is not None
    state, width = like.shape[1:], FORMS[walked.kind].widths * like.shape[-1]
    # Several threads leave the deltas to one another.
    shared = of_weights and _threads(layout, weights) > 1
    last_h, last_c = last or (None, None)
    carry = like.new_empty(state)
    found = {
        "carry": carry,
        "carry_c": like.new_empty(state) if memory else None,
        "deltas": like.new_empty(layout.rows, width) if deltas or shared else None,
        "arriving": _room(walked, layout.steps, *state) if states else None,
        "total_c": _room(walked, layout.steps, *state) if states and memory else None,
        "logs": _room(walked, layout.steps, layout.batch, dtype=torch.float64) if renormalise else None,
    }
    gradients = _gradients(walked, weights, of_x, of_weights)
    given = {
        "x": None if x is None else _rows(x),
        "direct": None if direct is None else _rows(direct),
        "direct_c": None if direct_c is None else _rows(direct_c),
        "last": _like(like, last_h),
        "last_c": _like(like, last_c),
        "outside": None if outside is None else outside.T.to(torch.float64).contiguous(),
    }
    tensors = _read(weights) | _left(walked) | given | found | gradients
    _run("backward", weights, layout, tensors)
    if shared:
        _run("gradients", weights, layout, tensors)
    by_x, *turned, of_bias = gradients.values()
    by_w, by_u = (None if part is None else part.T for part in turned)
    of_everything = Gradients(by_x, by_w, by_u, of_bias)
    arriving, total_c, logs = found["arriving"], found["total_c"], found["logs"]
    return Back(carry, found["carry_c"], found["deltas"], arriving, total_c, logs, of_everything)


def _read(weights: NativeWeights) -> dict[str, Tensor | None]:
    names = ("w", "bias", "u", "recurrent_bias", "peepholes")
    return {n: None if v is None else v.contiguous() for n, v in zip(names, weights[1:], strict=True)}


def _left(walked: Walked) -> dict[str, Tensor | None]:
    return {"gates": walked.gates, "extra": walked.extra, "h": walked.h, "c": walked.c}


def _room(walked: Walked, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    # Where nothing is padded every number is written.
    make = walked.h.new_empty if walked.layout.index is None else walked.h.new_zeros
    return make(shape, dtype=dtype)


def _gradients(
    walked: Walked, weights: NativeWeights, of_x: bool, of_weights: bool
) -> dict[str, Tensor | None]:
    """Room for them: of x (B, T, D), W (D, chunks·H) and U (H, chunks·H) turned round, and the biases."""
    (width, inputs), size, new = weights.w.shape, weights.units, walked.h.new_empty
    return {
        "of_x": _room(walked, walked.layout.batch, walked.layout.steps, inputs) if of_x else None,
        "of_w": new(inputs, width) if of_weights else None,
        "of_u": new(size, width) if of_weights and weights.u is not None else None,
        "of_bias": new(FORMS[weights.kind].widths * size) if of_weights else None,
    }


def _rows(values: Tensor) -> Tensor:
    """With rows that lie in one piece; the strides of batch and time may be any."""
    return values if values.stride(-1) == 1 else values.contiguous()


def _like(other: Tensor, values: Tensor | None) -> Tensor | None:
    """Of the other's type, in one piece."""
    return None if values is None else values.to(other.dtype).contiguous()


@cache
def _function(name: str) -> Any:
    function = library()[name]
    function.argtypes, function.restype = [ctypes.POINTER(_Call)], None
    return function


def _run(way: str, weights: NativeWeights, layout: Layout, tensors: Mapping[str, Tensor | None]) -> None:
    """Threads share a batch by its rows, each all the steps of its own: none waits for another."""
    places: dict[str, int] = {n: v.data_ptr() for n, v in tensors.items() if v is not None}
    for strided in ("x", "direct", "direct_c", "of_x"):
        if (values := tensors.get(strided)) is not None:
            places[f"{strided}_b"], places[f"{strided}_t"], _ = values.stride()
    places["offsets"], places["order"] = layout.offsets.data_ptr(), layout.order.data_ptr()
    sizes = (layout.steps, layout.batch, weights.w.shape[1], weights.units)
    function, threads = _function(f"{_named(weights)}_{way}"), _threads(layout, weights)
    calls = [_Call(*sizes, thread, threads, **places) for thread in range(threads)]
    if threads == 1:
        function(calls[0])
        return
    if way != "gradients":
        _function(f"{_named(weights)}_pack_{way}")(calls[0])
        for call in calls:
            call.panels = calls[0].panels
    list(_pool(threads).map(function, calls))


def _named(weights: NativeWeights) -> str:
    return f"{weights.kind}_{'float32' if weights.w.dtype == torch.float32 else 'float64'}"


def _threads(layout: Layout, weights: NativeWeights) -> int:
    width, inputs = weights.w.shape
    met = 0 if weights.u is None else weights.u.shape[1]
    worth = layout.rows * width * (inputs + met + POINTWISE) // PER_THREAD
    return max(1, min(torch.get_num_threads(), layout.batch, worth))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="recurrence")
