"""Calls of the native kernel: one layer and direction, all steps, forward and backward."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatescope.cells.kernels.build import library
from gatescope.cells.kernels.layout import Layout, PaddedLayout
from gatescope.cells.kernels.weights import FORMS, Kind, NativeWeights
from gatescope.cells.state import State

MULTIPLICATIONS_PER_THREAD = 2**26
"""Multiplications (about a millisecond) below which another thread does not pay."""
GATE_COST = 64
"""Cost of the gates of one unit at one step, in multiplications."""

_INTEGERS, _POINTERS = ctypes.c_int64, ctypes.c_void_p
_FIELDS = (
    (_INTEGERS, "steps batch inputs hidden first stride"),
    (_POINTERS, "offsets order x"),
    (_INTEGERS, "x_stride_b x_stride_t"),
    (_POINTERS, "w u bias recurrent_bias peepholes panels gates extra h c initial initial_c"),
    (_POINTERS, "last_grad last_grad_c output_grad output_grad_c"),
    (_INTEGERS, "output_grad_stride_b output_grad_stride_t output_grad_c_stride_b output_grad_c_stride_t"),
    (_POINTERS, "deltas initial_grad initial_grad_c state_grad state_grad_c"),
    (_POINTERS, "log_scale output_grad_log_scale x_grad"),
    (_INTEGERS, "x_grad_stride_b x_grad_stride_t"),
    (_POINTERS, "w_grad u_grad bias_grad"),
)


class _Call(ctypes.Structure):
    """`Call` of call.h."""

    _fields_ = tuple((name, kind) for kind, names in _FIELDS for name in names.split())


@dataclass(frozen=True, eq=False)
class ForwardCache:
    """The buffers that a forward pass fills, for gates and for the backward pass.

    Attributes:
        kind: the architecture.
        layout: where each valid step is stored.
        gates: (N, chunks·H): r, z, n of a GRU; i, f, g, o of an LSTM; keep and candidate of a minGRU; the
            shares written and kept and the candidate of a minLSTM. None where they are not stored.
        extra: (N, H): U_n h + b_n of a GRU; the update gate of a minGRU; i + f of a minLSTM; else None.
        h: hidden states (T + 1, B, H), initial state first, 0 at padding.
        c: memory cells likewise, or None.
        low: type of the matrix products under autocast on a GPU, else None.
    """

    kind: Kind
    layout: Layout | PaddedLayout
    gates: Tensor | None
    extra: Tensor | None
    h: Tensor
    c: Tensor | None
    low: torch.dtype | None = None

    @property
    def initial(self) -> State:
        """The state before the first step, (B, H) each."""
        return State(self.h[0], None if self.c is None else self.c[0])

    def outputs(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return h and c of every step (B, T, H), and the last h of each sequence (B, H)."""
        c = None if self.c is None else self.c[1:].transpose(0, 1)
        return self.h[1:].transpose(0, 1), c, self.layout.last_of(self.h)


class Gradients(NamedTuple):
    """Gradients of the inputs x (B, T, D), of W, of U, and of the biases in one (widths·H,).

    Those that were not requested are None.
    """

    x: Tensor | None = None
    w: Tensor | None = None
    u: Tensor | None = None
    bias: Tensor | None = None


class BackwardResult(NamedTuple):
    """The result of a backward pass.

    Attributes:
        initial: ∂L/∂h before the first step (B, H).
        initial_c: ∂L/∂c before the first step (B, H), or None.
        deltas: gradients at the pre-activations (N, chunks·H), if requested. A GRU has (N, 4H), with the
            gradient at U_n h + b_n at the end.
        h: ∂L/∂h_t in full (T, B, H), if requested.
        c: ∂L/∂c_t in full (T, B, H), if requested and there is a memory cell.
        log_scale: (T, B), with renormalisation: all of the above are times its exponential.
        gradients: of inputs and parameters.
    """

    initial: Tensor
    initial_c: Tensor | None
    deltas: Tensor | None
    h: Tensor | None
    c: Tensor | None
    log_scale: Tensor | None
    gradients: Gradients = Gradients()


@dataclass(eq=False)
class SavedForBackward:
    """What a pass under autograd saves for `NativeLayer.collect_gradients`.

    Attributes:
        forward: buffers of the forward pass.
        requested: whether the backward pass shall save its result; set before it.
        backward: its result, with the gradients at all states.
        output_grads: gradients that it received, (B, T, H) at h and at c, and at the last state (B, H).
    """

    forward: ForwardCache | None = None
    requested: bool = False
    backward: BackwardResult | None = None
    output_grads: tuple[Tensor | None, Tensor | None, State | None] = (None, None, None)


def forward(
    weights: NativeWeights, x: Tensor, initial: State | None, layout: Layout, gates: bool = True
) -> ForwardCache:
    """Run a layer over a batch.

    Args:
        weights: parameters of the layer.
        x: (B, T, D), of the weights' type.
        initial: the state before the first step, (B, H) each; None: zeros.
        layout: of the batch.
        gates: whether to store the gates, for a backward pass or to be read.
    """
    kind, new, size = weights.kind, weights.w.new_empty, weights.hidden_size
    chunks, _, has_gates, has_extra, memory = FORMS[kind]
    start, start_c = initial or (None, None)
    buffers = ForwardCache(
        kind,
        layout,
        new(layout.rows, chunks * size) if gates and has_gates else None,
        new(layout.rows, size) if gates and has_extra else None,
        new(layout.steps + 1, layout.batch, size),
        new(layout.steps + 1, layout.batch, size) if memory else None,
    )
    arguments = {
        "x": _contiguous_rows(x),
        "initial": _contiguous_as(weights.w, start),
        "initial_c": _contiguous_as(weights.w, start_c),
    }
    _run("forward", weights, layout, _parameters(weights) | _buffers(buffers) | arguments)
    return buffers


def backward(
    buffers: ForwardCache,
    weights: NativeWeights,
    output_grad: Tensor | None,
    output_grad_c: Tensor | None = None,
    last: State | None = None,
    deltas: bool = False,
    states: bool = False,
    renormalise: bool = False,
    output_grad_log_scale: Tensor | None = None,
    x: Tensor | None = None,
    x_grad: bool = False,
    weight_grads: bool = False,
) -> BackwardResult:
    """Run the backward pass of a layer.

    Args:
        buffers: result of `forward`.
        weights: parameters of the layer.
        output_grad: gradient from outside the layer at every h_t, (B, T, H).
        output_grad_c: likewise at every c_t.
        last: gradient at the last state of each sequence in addition, (B, H) each.
        deltas: whether to return the gradients at the pre-activations.
        states: whether to return the gradients at all states.
        renormalise: whether to keep the gradients at each step near 1, with logarithms of their scale.
        output_grad_log_scale: (B, T), with `renormalise`: gradients from outside are times its exponential.
        x: input of the forward pass (B, T, D), for the gradients below.
        x_grad: whether to return the gradient of the input.
        weight_grads: whether to return the gradients of the parameters.
    """
    layout, like, memory = buffers.layout, buffers.h, buffers.c is not None
    assert isinstance(layout, Layout)
    shape, width = like.shape[1:], FORMS[buffers.kind].widths * like.shape[-1]
    # With several threads the weight gradients are a second call, which reads the deltas of all threads.
    several = weight_grads and _threads(layout, weights) > 1
    last_h, last_c = last or (None, None)
    initial_grad = like.new_empty(shape)
    results = {
        "initial_grad": initial_grad,
        "initial_grad_c": like.new_empty(shape) if memory else None,
        "deltas": like.new_empty(layout.rows, width) if deltas or several else None,
        "state_grad": _empty(buffers, layout.steps, *shape) if states else None,
        "state_grad_c": _empty(buffers, layout.steps, *shape) if states and memory else None,
        "log_scale": _empty(buffers, layout.steps, layout.batch, dtype=torch.float64)
        if renormalise
        else None,
    }
    gradients = _empty_gradients(buffers, weights, x_grad, weight_grads)
    log_scale = output_grad_log_scale
    arguments = {
        "x": None if x is None else _contiguous_rows(x),
        "output_grad": None if output_grad is None else _contiguous_rows(output_grad),
        "output_grad_c": None if output_grad_c is None else _contiguous_rows(output_grad_c),
        "last_grad": _contiguous_as(like, last_h),
        "last_grad_c": _contiguous_as(like, last_c),
        "output_grad_log_scale": None if log_scale is None else log_scale.T.to(torch.float64).contiguous(),
    }
    tensors = _parameters(weights) | _buffers(buffers) | arguments | results | gradients
    _run("backward", weights, layout, tensors)
    if several:
        _run("gradients", weights, layout, tensors)
    of_x, *transposed, of_bias = gradients.values()
    of_w, of_u = (None if part is None else part.T for part in transposed)
    return BackwardResult(
        initial_grad,
        results["initial_grad_c"],
        results["deltas"],
        results["state_grad"],
        results["state_grad_c"],
        results["log_scale"],
        Gradients(of_x, of_w, of_u, of_bias),
    )


def _parameters(weights: NativeWeights) -> dict[str, Tensor | None]:
    names = ("w", "bias", "u", "recurrent_bias", "peepholes")
    return {n: None if v is None else v.contiguous() for n, v in zip(names, weights[1:], strict=True)}


def _buffers(buffers: ForwardCache) -> dict[str, Tensor | None]:
    return {"gates": buffers.gates, "extra": buffers.extra, "h": buffers.h, "c": buffers.c}


def _empty(buffers: ForwardCache, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    # Without padding the kernel writes every value.
    padded = isinstance(buffers.layout, Layout) and buffers.layout.index is not None
    make = buffers.h.new_zeros if padded else buffers.h.new_empty
    return make(shape, dtype=dtype)


def _empty_gradients(
    buffers: ForwardCache, weights: NativeWeights, x_grad: bool, weight_grads: bool
) -> dict[str, Tensor | None]:
    """Allocate gradients of x (B, T, D), W (D, chunks·H), U (H, chunks·H) (transposed) and the biases."""
    (width, inputs), size, new = weights.w.shape, weights.hidden_size, buffers.h.new_empty
    layout = buffers.layout
    return {
        "x_grad": _empty(buffers, layout.batch, layout.steps, inputs) if x_grad else None,
        "w_grad": new(inputs, width) if weight_grads else None,
        "u_grad": new(size, width) if weight_grads and weights.u is not None else None,
        "bias_grad": new(FORMS[weights.kind].widths * size) if weight_grads else None,
    }


def _contiguous_rows(values: Tensor) -> Tensor:
    """Return values whose last dimension is contiguous; batch and time may have any strides."""
    return values if values.stride(-1) == 1 else values.contiguous()


def _contiguous_as(other: Tensor, values: Tensor | None) -> Tensor | None:
    """Return contiguous values of the other tensor's type."""
    return None if values is None else values.to(other.dtype).contiguous()


@cache
def _function(name: str) -> Any:
    function = library()[name]
    function.argtypes, function.restype = [ctypes.POINTER(_Call)], None
    return function


def _run(
    operation: str, weights: NativeWeights, layout: Layout, tensors: Mapping[str, Tensor | None]
) -> None:
    """Call the kernel, on several threads where it pays.

    Each thread takes some rows of the batch through all steps, so that none waits for another.
    """
    fields: dict[str, int] = {n: v.data_ptr() for n, v in tensors.items() if v is not None}
    for strided in ("x", "output_grad", "output_grad_c", "x_grad"):
        if (values := tensors.get(strided)) is not None:
            fields[f"{strided}_stride_b"], fields[f"{strided}_stride_t"], _ = values.stride()
    fields["offsets"], fields["order"] = layout.offsets.data_ptr(), layout.order.data_ptr()
    sizes = (layout.steps, layout.batch, weights.w.shape[1], weights.hidden_size)
    function, threads = _function(f"{_prefix(weights)}_{operation}"), _threads(layout, weights)
    calls = [_Call(*sizes, thread, threads, **fields) for thread in range(threads)]
    if threads == 1:
        function(calls[0])
        return
    if operation != "gradients":
        _function(f"{_prefix(weights)}_pack_{operation}")(calls[0])
        for call in calls:
            call.panels = calls[0].panels
    list(_pool(threads).map(function, calls))


def _prefix(weights: NativeWeights) -> str:
    return f"{weights.kind}_{'float32' if weights.w.dtype == torch.float32 else 'float64'}"


def _threads(layout: Layout, weights: NativeWeights) -> int:
    width, inputs = weights.w.shape
    recurrent = 0 if weights.u is None else weights.u.shape[1]
    enough_for = layout.rows * width * (inputs + recurrent + GATE_COST) // MULTIPLICATIONS_PER_THREAD
    return max(1, min(torch.get_num_threads(), layout.batch, enough_for))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="recurrence")
