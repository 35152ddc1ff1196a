"""The native recurrence of one layer and direction as an operation of autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatescope.cells.kernels.backends import Backend
from gatescope.cells.kernels.layout import Layout, PaddedLayout
from gatescope.cells.kernels.recurrence import ForwardCache, Gradients, SavedForBackward
from gatescope.cells.kernels.weights import Kind, NativeWeights
from gatescope.cells.state import State


class Recurrence(torch.autograd.Function):
    """Map (x, the fields of `NativeWeights`, h_0, c_0) to h, c and the last h.

    One node for the whole layer: in a short pass further nodes would cost more than they compute.

    Shape:
        x (B, T, D), h_0 and c_0 (B, H) or None -> h and c (B, T, H), c None without a memory cell, and h at
        the last step of each sequence (B, H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        bias: Tensor,
        u: Tensor | None,
        recurrent_bias: Tensor | None,
        peepholes: Tensor | None,
        h: Tensor | None,
        c: Tensor | None,
        kind: Kind,
        kernel: Backend,
        layout: Layout | PaddedLayout,
        saved: SavedForBackward,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Run the layer, and keep its buffers in `saved`."""
        ctx.set_materialize_grads(False)
        weights = NativeWeights(kind, w, bias, u, recurrent_bias, peepholes)
        inputs = x.to(w.dtype)
        buffers = kernel.forward(weights, inputs, None if h is None else State(h, c), layout)
        ctx.kind, ctx.kernel, ctx.layout, ctx.saved, ctx.x_dtype = kind, kernel, layout, saved, x.dtype
        ctx.low = buffers.low
        saved.forward = buffers
        ctx.save_for_backward(inputs, buffers.gates, buffers.extra, buffers.h, buffers.c, *weights[1:])
        return buffers.outputs()

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, grad_c: Tensor | None, grad_last: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`.

        Raises:
            RuntimeError: a second derivative is requested.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("the native kernel has no second derivative: set kernel=torch")
        inputs, gates, extra, h, c, *parameters = ctx.saved_tensors
        weights, saved = NativeWeights(ctx.kind, *parameters), ctx.saved
        buffers = ForwardCache(ctx.kind, ctx.layout, gates, extra, h, c, ctx.low)
        last = None if grad_last is None else State(grad_last)
        needs_x, *needs_weights = ctx.needs_input_grad[:6]
        needs_initial, needs_initial_c = ctx.needs_input_grad[6:8]
        result = ctx.kernel.backward(
            buffers,
            weights,
            grad,
            grad_c,
            last,
            deltas=needs_weights[-1],
            states=saved.requested,
            x=inputs,
            x_grad=needs_x,
            weight_grads=any(needs_weights),
        )
        if saved.requested:
            saved.backward = result._replace(gradients=Gradients())
            saved.output_grads = (grad, grad_c, last)
        else:
            saved.forward = None  # a graph that is retained would hold the buffers
        gradients = result.gradients
        biases = (None, None) if gradients.bias is None else weights.bias_gradients(gradients.bias)
        return (
            None if gradients.x is None else gradients.x.to(ctx.x_dtype),
            gradients.w,
            biases[0],
            gradients.u,
            biases[1],
            _peephole_gradient(buffers, result.deltas) if needs_weights[-1] else None,
            result.initial if needs_initial else None,
            result.initial_c if needs_initial_c else None,
            None,
            None,
            None,
            None,
        )


def _peephole_gradient(buffers: ForwardCache, deltas: Tensor | None) -> Tensor:
    """Return the gradient of the peepholes (3, H) from the pre-activation gradients (N, 4H)."""
    assert buffers.c is not None
    assert deltas is not None
    before, after = buffers.layout.previous(buffers.c), buffers.layout.pack(buffers.c[1:].transpose(0, 1))
    i, f, _, o = deltas.split(buffers.h.shape[-1], dim=-1)
    return torch.stack([(i * before).sum(0), (f * before).sum(0), (o * after).sum(0)])
