"""The linear recurrence h_t = keep_t ⊙ h_{t-1} + written_t on a GPU, as an operation of autograd.

A program takes one sequence and some units, and scans a block of steps at once (Blelloch 1990).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

STEPS_PER_BLOCK = 32
UNITS_PER_PROGRAM = 32


@triton.jit
def _compose(keep, written, next_keep, next_written):
    return keep * next_keep, next_keep * written + next_written


@triton.jit
def _scan(
    keep, written, initial, h, T, H,
    STARTED: tl.constexpr, BACK: tl.constexpr, S: tl.constexpr, U: tl.constexpr,
):  # fmt: skip
    """Scan (B, T, H).

    With BACK the scan goes from the last step to the first, with the share kept of the step after each one.

    Args:
        keep: (B, T, H).
        written: (B, T, H).
        initial: (B, H), read if STARTED.
        h: (B, T, H), written.
        T: steps.
        H: hidden size.
    """
    sequence = tl.program_id(0).to(tl.int64)
    unit = tl.program_id(1) * U + tl.arange(0, U)
    state = tl.zeros((U,), h.dtype.element_ty)
    if STARTED:
        state = tl.load(initial + sequence * H + unit, unit < H, 0.0)
    step = tl.arange(0, S)
    for start in range(0, T, S):
        t = start + step
        inside = (t < T)[:, None] & (unit < H)[None, :]
        if BACK:
            t = T - 1 - t
        place = (sequence * T + t)[:, None] * H + unit[None, :]
        if BACK:
            share = tl.load(keep + place + H, inside & (t + 1 < T)[:, None], 0.0)
        else:
            share = tl.load(keep + place, inside, 0.0)
        share, value = tl.associative_scan((share, tl.load(written + place, inside, 0.0)), 0, _compose)
        value += share * state[None, :]
        tl.store(h + place, value, inside)
        state = tl.sum(tl.where((step == S - 1)[:, None], value, 0.0), axis=0)


def scan(keep: Tensor, written: Tensor, initial: Tensor | None, back: bool = False) -> Tensor:
    """Return h (B, T, H) without a graph.

    Args:
        keep: (B, T, H).
        written: (B, T, H).
        initial: the state before the first step (B, H); None: zeros.
        back: h_t = keep_{t+1} ⊙ h_{t+1} + written_t instead, the adjoint of the recurrence.
    """
    keep, written = keep.contiguous(), written.contiguous()
    batch, steps, units = keep.shape
    h = torch.empty_like(written)
    grid = (batch, triton.cdiv(units, UNITS_PER_PROGRAM))
    start = h if initial is None else initial.to(h.dtype).contiguous()
    with torch.cuda.device_of(h):
        _scan[grid](
            keep, written, start, h, steps, units, STARTED=initial is not None, BACK=back,
            S=STEPS_PER_BLOCK, U=UNITS_PER_PROGRAM, num_warps=2,
        )  # fmt: skip
    return h


class Scan(torch.autograd.Function):
    """Map keep, written (B, T, H) and the initial state (B, H) to h (B, T, H)."""

    @staticmethod
    def forward(ctx: Any, keep: Tensor, written: Tensor, initial: Tensor) -> Tensor:
        """Return h."""
        h = scan(keep, written, initial)
        ctx.save_for_backward(keep, h, initial)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of the arguments of `forward`."""
        keep, h, initial = ctx.saved_tensors
        state_grad = scan(keep, grad.to(h.dtype), None, back=True)
        before = torch.cat([initial[:, None].to(h.dtype), h[:, :-1]], dim=1)
        return state_grad * before, state_grad, keep[:, 0] * state_grad[:, 0]
