"""Calls of the Triton kernels: one layer and direction, all steps, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn.functional import linear

from gatescope.cells.kernels.gpu import gru, lstm, rnn
from gatescope.cells.kernels.gpu.plan import REGISTERS_PER_THREAD, plan
from gatescope.cells.kernels.layout import PaddedLayout
from gatescope.cells.kernels.recurrence import BackwardResult, ForwardCache, Gradients
from gatescope.cells.kernels.weights import FORMS, Kind, NativeWeights
from gatescope.cells.state import State

CELLS: dict[Kind, Any] = {"tanh": rnn, "relu": rnn, "gru": gru, "lstm": lstm, "peephole": lstm}


def forward(
    weights: NativeWeights, x: Tensor, initial: State | None, layout: PaddedLayout, gates: bool = True
) -> ForwardCache:
    """Run a layer over a batch; arguments as of `gatescope.cells.kernels.recurrence.forward`.

    Under autocast the products are computed in its type, and states and gates in that of the weights.
    """
    low = _autocast_dtype(weights)
    batch, steps, size = layout.batch, layout.steps, weights.hidden_size
    form, new = FORMS[weights.kind], weights.w.new_empty
    projected = _linear(x, weights.w, weights.bias, low)
    h = new(batch, steps + 1, size)
    c = new(batch, steps + 1, size) if form.memory else None
    extra = new(batch * steps, size) if form.extra and gates else None
    buffers = ForwardCache(
        weights.kind,
        layout,
        projected.view(batch * steps, -1) if gates and form.gates else None,
        extra,
        h.transpose(0, 1),
        None if c is None else c.transpose(0, 1),
        low,
    )
    start, start_c = initial or (None, None)
    tensors = {
        "inputs": projected,
        "gates": projected,
        "recurrent_bias": _of(h, weights.recurrent_bias),
        "initial": _of(h, start),
        "initial_c": _of(h, start_c),
        "h": h,
        "c": c,
        "extra": extra,
    }
    _run(
        CELLS[weights.kind].forward,
        weights,
        layout,
        low,
        tensors,
        {"STARTED": start is not None, "KEEP": gates},
    )
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
    """Run the backward pass of a layer; arguments as of `gatescope.cells.kernels.recurrence.backward`."""
    layout, like, form = buffers.layout, buffers.h, FORMS[buffers.kind]
    assert isinstance(layout, PaddedLayout)
    batch, steps, size = layout.batch, layout.steps, weights.hidden_size
    needs_deltas = deltas or x_grad or weight_grads
    last_h, last_c = last or (None, None)
    new = like.new_empty
    result = BackwardResult(
        new(batch, size),
        new(batch, size) if form.memory else None,
        new(batch * steps, form.widths * size) if needs_deltas else None,
        new(batch, steps, size) if states else None,
        new(batch, steps, size) if states and form.memory else None,
        new((batch, steps), dtype=torch.float64) if renormalise else None,
    )
    log = None if output_grad_log_scale is None else output_grad_log_scale.to(torch.float64).contiguous()
    output_grad, output_grad_c = _contiguous_rows(output_grad), _contiguous_rows(output_grad_c)
    tensors = {
        "gates": buffers.gates,
        "extra": buffers.extra,
        "h": buffers.h.transpose(0, 1),
        "c": None if buffers.c is None else buffers.c.transpose(0, 1),
        "output_grad": output_grad,
        "output_grad_c": output_grad_c,
        "last_grad": _of(like, last_h),
        "last_grad_c": _of(like, last_c),
        "output_log": log,
        "deltas": result.deltas,
        "state_grad": result.h,
        "state_grad_c": result.c,
        "log_scale": result.log_scale,
        "initial_grad": result.initial,
        "initial_grad_c": result.initial_c,
    }
    switches = {
        "OUTPUT": output_grad is not None,
        "OUTPUT_C": output_grad_c is not None,
        "LAST": last_h is not None,
        "LAST_C": last_c is not None,
        "DELTAS": needs_deltas,
        "STATES": states,
        "RENORMALISE": renormalise,
        "OUTPUT_LOG": log is not None,
    }
    _run(CELLS[buffers.kind].backward, weights, layout, buffers.low, tensors, switches)
    gradients = _gradients(buffers, weights, result.deltas, x, x_grad, weight_grads)
    # In the order of the CPU's kernel, steps first.
    h_grad, c_grad, log_scale = (None if part is None else part.transpose(0, 1) for part in result[3:6])
    return result._replace(
        deltas=result.deltas if deltas else None, h=h_grad, c=c_grad, log_scale=log_scale, gradients=gradients
    )


def _run(
    kernel: Any,
    weights: NativeWeights,
    layout: PaddedLayout,
    low: torch.dtype | None,
    tensors: dict[str, Tensor | None],
    switches: dict[str, bool],
) -> None:
    """Launch a kernel with those arguments that it has, by name."""
    assert weights.u is not None
    sizes = plan(layout.batch, weights.hidden_size, autocast=low is not None)
    u = weights.u.to(low if low and sizes.dot else weights.w.dtype).contiguous()
    tensors = {**tensors, "u": u, "peepholes": _of(weights.w, weights.peepholes), "lengths": layout.lengths}
    # A kernel does not read a tensor that is not given, but needs a pointer.
    arguments: dict[str, Any] = {name: u if values is None else values for name, values in tensors.items()}
    arguments["stride_b"], arguments["stride_t"] = _strides(tensors.get("output_grad"))
    arguments["stride_c_b"], arguments["stride_c_t"] = _strides(tensors.get("output_grad_c"))
    arguments |= {"T": layout.steps, "B": layout.batch, "H": weights.hidden_size}
    arguments |= {"R": sizes.rows, "U": sizes.units, "DOT": sizes.dot, "PADDED": layout.lengths is not None}
    arguments |= {"PEEPHOLES": weights.peepholes is not None, "RELU": weights.kind == "relu", **switches}
    with torch.cuda.device_of(u):
        kernel[(triton.cdiv(layout.batch, sizes.rows),)](
            **{name: arguments[name] for name in kernel.arg_names},
            num_warps=sizes.warps,
            maxnreg=REGISTERS_PER_THREAD,
        )


def _autocast_dtype(weights: NativeWeights) -> torch.dtype | None:
    """Return the type of matrix products, None for that of the weights."""
    device = weights.w.device.type
    if weights.w.dtype != torch.float32 or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def _linear(x: Tensor, w: Tensor, bias: Tensor, low: torch.dtype | None) -> Tensor:
    """Return W x + b (…, chunks·H), contiguous and of the type of w."""
    with torch.autocast(x.device.type, enabled=False):
        if low is None:
            return linear(x, w, bias).contiguous()
        return linear(x.to(low), w.to(low)).to(w.dtype).add_(bias)


def _gradients(
    buffers: ForwardCache,
    weights: NativeWeights,
    deltas: Tensor | None,
    x: Tensor | None,
    x_grad: bool,
    weight_grads: bool,
) -> Gradients:
    """Return the gradients of the inputs and parameters, matrix products over all steps at once."""
    if deltas is None or x is None or not (x_grad or weight_grads):
        return Gradients()
    layout, low, size = buffers.layout, buffers.low, weights.hidden_size
    assert isinstance(layout, PaddedLayout)
    assert weights.u is not None
    width = len(weights.w)
    with torch.autocast(x.device.type, enabled=False):
        cast = deltas if low is None else deltas.to(low)
        of_x = _product(cast[:, :width], weights.w, low).view(x.shape) if x_grad else None
        if not weight_grads:
            return Gradients(of_x)
        of_u, before = torch.empty_like(weights.u), layout.previous(buffers.h)
        gates = width if cast.shape[1] == width else width - size
        _product(cast[:, :gates].T, before, low, out=of_u[:gates])
        if gates < width:  # U_n h + b_n of a GRU has a gradient of its own
            _product(cast[:, width:].T, before, low, out=of_u[gates:])
        of_w = _product(cast[:, :width].T, layout.pack(layout.zero_padding(x)), low)
    return Gradients(of_x, of_w, of_u, deltas.sum(0))


def _product(a: Tensor, b: Tensor, low: torch.dtype | None, out: Tensor | None = None) -> Tensor:
    if low is None:
        return torch.mm(a, b, out=out)
    result = torch.mm(a, b.to(low)).float()
    return result if out is None else out.copy_(result)


def _contiguous_rows(values: Tensor | None) -> Tensor | None:
    """Return values whose last dimension is contiguous; batch and time may have any strides."""
    return values if values is None or values.stride(-1) == 1 else values.contiguous()


def _strides(values: Tensor | None) -> tuple[int, int]:
    """Return the strides of batch and time."""
    return (0, 0) if values is None else (values.stride(0), values.stride(1))


def _of(other: Tensor, values: Tensor | None) -> Tensor | None:
    """Return contiguous values of the other tensor's type."""
    return None if values is None else values.to(other.dtype).contiguous()
