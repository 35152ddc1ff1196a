"""The native walk as an operation of autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatescope.cells.kernels.layout import Layout
from gatescope.cells.kernels.walk import CHUNKS, Kind, Walked, Watch, backward, forward


class Recurrence(torch.autograd.Function):
    """(fed (N, chunks·H), U, shared, h_0, c_0) -> h and c (T, B, H) of every step.

    The caller must hand over `fed`: its memory becomes the gates'.

    Raises:
        RuntimeError: a second derivative is asked for.
    """

    @staticmethod
    def forward(
        ctx: Any,
        fed: Tensor,
        u: Tensor | None,
        shared: Tensor | None,
        h: Tensor,
        c: Tensor | None,
        kind: Kind,
        layout: Layout,
        watch: Watch,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        walked = forward(kind, fed, u, shared, (h, c), layout)
        ctx.kind, ctx.layout, ctx.watch = kind, layout, watch
        watch.walked = walked
        ctx.save_for_backward(walked.gates, walked.extra, walked.h, walked.c, u, shared)
        return walked.h[1:], None if walked.c is None else walked.c[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_c: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the native kernel has no second derivative: choose kernel=torch for it")
        gates, extra, h, c, u, shared = ctx.saved_tensors
        walked = Walked(ctx.kind, ctx.layout, gates, extra, h, c)
        watch: Watch = ctx.watch
        back = backward(walked, u, shared, grad, grad_c, states=watch.wanted)
        assert back.deltas is not None
        if watch.wanted:
            watch.back = back
        else:
            watch.walked = None  # a graph that is kept would keep it too
        width = CHUNKS[ctx.kind] * h.shape[-1]
        of_u = recurrent_gradient(walked, back.deltas) if ctx.needs_input_grad[1] else None
        of_shared = None
        if shared is not None and ctx.needs_input_grad[2]:
            of_shared = shared_gradient(walked, back.deltas)
        return back.deltas[:, :width], of_u, of_shared, back.initial, back.initial_c, None, None, None


def recurrent_gradient(walked: Walked, deltas: Tensor) -> Tensor:
    """(chunks·H, H): ∂L/∂U, one product over all steps."""
    previous, size = walked.layout.previous(walked.h), walked.h.shape[-1]
    if walked.kind != "gru":
        return deltas.t() @ previous
    found = deltas.new_empty(3 * size, size)
    torch.mm(deltas[:, : 2 * size].t(), previous, out=found[: 2 * size])
    torch.mm(deltas[:, 3 * size :].t(), previous, out=found[2 * size :])
    return found


def shared_gradient(walked: Walked, deltas: Tensor) -> Tensor:
    """Of a GRU's b_n (H,), or of the peepholes (3, H)."""
    size = walked.h.shape[-1]
    if walked.kind == "gru":
        return deltas[:, 3 * size :].sum(0)
    assert walked.c is not None
    before, after = walked.layout.previous(walked.c), walked.layout.pack(walked.c[1:].transpose(0, 1))
    i, f, _, o = deltas.split(size, dim=-1)
    return torch.stack([(i * before).sum(0), (f * before).sum(0), (o * after).sum(0)])
