"""One layer and direction on the native walk as an operation of autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatescope.cells.base import State
from gatescope.cells.kernels.layout import Layout
from gatescope.cells.kernels.walk import Gradients, Walked, Watch, backward, forward
from gatescope.cells.kernels.weights import Kind, NativeWeights


class Recurrence(torch.autograd.Function):
    """(x (B, T, D), the weights of `NativeWeights`, h_0, c_0) -> h and c (B, T, H) of every step, and h of
    each sequence's last, (B, H).

    All in one node: beside a short walk, others would cost.

    Raises:
        RuntimeError: a second derivative is asked for.
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
        layout: Layout,
        watch: Watch,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        ctx.set_materialize_grads(False)
        weights = NativeWeights(kind, w, bias, u, recurrent_bias, peepholes)
        inputs = x.to(w.dtype)
        walked = forward(weights, inputs, None if h is None else State(h, c), layout)
        ctx.kind, ctx.layout, ctx.watch, ctx.of_x = kind, layout, watch, x.dtype
        watch.walked = walked
        ctx.save_for_backward(inputs, walked.gates, walked.extra, walked.h, walked.c, *weights[1:])
        return walked.outputs()

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, grad_c: Tensor | None, grad_last: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the native kernel has no second derivative: choose kernel=torch for it")
        inputs, gates, extra, h, c, *saved = ctx.saved_tensors
        weights, layout, watch = NativeWeights(ctx.kind, *saved), ctx.layout, ctx.watch
        walked = Walked(ctx.kind, layout, gates, extra, h, c)
        last = None if grad_last is None else State(grad_last)
        of_x, *of_weights = ctx.needs_input_grad[:6]
        of_initial, of_initial_c = ctx.needs_input_grad[6:8]
        back = backward(
            walked,
            weights,
            grad,
            grad_c,
            last,
            deltas=of_weights[-1],
            states=watch.wanted,
            x=inputs,
            of_x=of_x,
            of_weights=any(of_weights),
        )
        if watch.wanted:
            watch.back, watch.direct = back._replace(gradients=Gradients()), (grad, grad_c, last)
        else:
            watch.walked = None  # a graph that is kept would keep it too
        found = back.gradients
        biases = (None, None) if found.bias is None else weights.bias_gradients(found.bias)
        return (
            None if found.x is None else found.x.to(ctx.of_x),
            found.w,
            biases[0],
            found.u,
            biases[1],
            _peephole_gradient(walked, back.deltas) if of_weights[-1] else None,
            back.initial if of_initial else None,
            back.initial_c if of_initial_c else None,
            None,
            None,
            None,
        )


def _peephole_gradient(walked: Walked, deltas: Tensor | None) -> Tensor:
    """(3, H)"""
    assert walked.c is not None
    assert deltas is not None
    before, after = walked.layout.previous(walked.c), walked.layout.pack(walked.c[1:].transpose(0, 1))
    i, f, _, o = deltas.split(walked.h.shape[-1], dim=-1)
    return torch.stack([(i * before).sum(0), (f * before).sum(0), (o * after).sum(0)])
