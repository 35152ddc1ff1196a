"""One layer and direction on the native walk as an operation of autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatescope.cells.kernels.layout import Layout
from gatescope.cells.kernels.walk import Kind, Walked, Watch, backward, forward
from gatescope.cells.kernels.weights import NativeWeights


class Recurrence(torch.autograd.Function):
    """(x (B, T, D), the weights of `NativeWeights`, h_0, c_0) -> h and c (B, T, H) of every step.

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
        h: Tensor,
        c: Tensor | None,
        kind: Kind,
        layout: Layout,
        watch: Watch,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        weights = NativeWeights(kind, w, bias, u, recurrent_bias, peepholes)
        packed = layout.pack(x).to(w.dtype)
        walked = forward(kind, weights.fed(packed), u, weights.per_unit, (h, c), layout)
        ctx.kind, ctx.layout, ctx.watch, ctx.of_x = kind, layout, watch, x.dtype
        watch.walked = walked
        ctx.save_for_backward(packed, walked.gates, walked.extra, walked.h, walked.c, *weights[1:])
        return walked.h[1:].transpose(0, 1), None if walked.c is None else walked.c[1:].transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_c: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the native kernel has no second derivative: choose kernel=torch for it")
        packed, gates, extra, h, c, *saved = ctx.saved_tensors
        weights, layout = NativeWeights(ctx.kind, *saved), ctx.layout
        walked, watch = Walked(ctx.kind, layout, gates, extra, h, c), ctx.watch
        direct, direct_c = (None if g is None else g.transpose(0, 1) for g in (grad, grad_c))
        back = backward(walked, weights.u, weights.per_unit, direct, direct_c, states=watch.wanted)
        assert back.deltas is not None
        if watch.wanted:
            watch.back = back
        else:
            watch.walked = None  # a graph that is kept would keep it too
        of_x, of_w, _, of_u, _, of_peepholes = ctx.needs_input_grad[:6]
        own = back.deltas[:, : len(weights.w)]
        of_bias, of_recurrent_bias = weights.bias_gradients(back.deltas)
        return (
            layout.unpack(own @ weights.w).to(ctx.of_x) if of_x else None,
            own.t() @ packed if of_w else None,
            of_bias,
            _recurrent_gradient(walked, back.deltas) if of_u else None,
            of_recurrent_bias,
            _peephole_gradient(walked, back.deltas) if of_peepholes else None,
            back.initial,
            back.initial_c,
            None,
            None,
            None,
        )


def _recurrent_gradient(walked: Walked, deltas: Tensor) -> Tensor:
    """(chunks·H, H): ∂L/∂U, one product over all steps."""
    previous, size = walked.layout.previous(walked.h), walked.h.shape[-1]
    if walked.kind != "gru":
        return deltas.t() @ previous
    found = deltas.new_empty(3 * size, size)
    torch.mm(deltas[:, : 2 * size].t(), previous, out=found[: 2 * size])
    torch.mm(deltas[:, 3 * size :].t(), previous, out=found[2 * size :])
    return found


def _peephole_gradient(walked: Walked, deltas: Tensor) -> Tensor:
    """(3, H)"""
    assert walked.c is not None
    before, after = walked.layout.previous(walked.c), walked.layout.pack(walked.c[1:].transpose(0, 1))
    i, f, _, o = deltas.split(walked.h.shape[-1], dim=-1)
    return torch.stack([(i * before).sum(0), (f * before).sum(0), (o * after).sum(0)])
