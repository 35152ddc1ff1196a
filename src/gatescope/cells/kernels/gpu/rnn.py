"""The kernels of a plain recurrent network; see `gatescope.cells.rnn` for its equation."""

from __future__ import annotations

import triton
import triton.language as tl

from gatescope.cells.kernels.gpu.step import (
    add_renormalised,
    entering_grad,
    load_weights,
    product,
    sequence_lengths,
    tanh,
)


@triton.jit
def forward(
    inputs, u, recurrent_bias, initial, lengths, h, T, B, H,
    R: tl.constexpr, U: tl.constexpr, PADDED: tl.constexpr, STARTED: tl.constexpr, RELU: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """Compute all states.

    Args:
        inputs: W x_t and its bias (B, T, H).
        u: (H, H).
        recurrent_bias: of U h_{t-1}, (H,).
        initial: h_0 (B, H), read if STARTED.
        lengths: (B,), read if PADDED.
        h: (B, T + 1, H), written.
        T: steps.
        B: batch size.
        H: hidden size.
    """
    row = tl.program_id(0) * R + tl.arange(0, R)
    unit = tl.arange(0, U)
    inside = (row < B)[:, None] & (unit < H)[None, :]
    at, wide = row.to(tl.int64)[:, None], unit[None, :]
    weights = load_weights(u, 0, H, U, True)
    bias = tl.load(recurrent_bias + unit, unit < H, 0.0)[None, :]
    state = tl.zeros((R, U), h.dtype.element_ty)
    if STARTED:
        state = tl.load(initial + at * H + wide, inside, 0.0)
    tl.store(h + at * (T + 1) * H + wide, state, inside)
    steps = T
    length = sequence_lengths(lengths, row, T, B, R, PADDED)
    if PADDED:
        steps = tl.max(length, 0).to(tl.int32)
    place = inputs + at * T * H + wide
    p = tl.load(place, inside, 0.0)
    for t in range(0, steps):
        # Loaded a step ahead, because a load takes longer than the arithmetic of a step.
        place += H
        next_p = tl.load(place, inside & (t + 1 < length)[:, None], 0.0)
        new = p + bias + product(state, weights, DOT)
        new = tl.maximum(new, 0.0) if RELU else tanh(new)
        valid = inside
        if PADDED:
            valid = inside & (t < length)[:, None]
        state = tl.where(valid, new, state)
        tl.store(h + (at * (T + 1) + t + 1) * H + wide, tl.where(valid, new, 0.0), inside)
        p = next_p
    if PADDED:
        zero = tl.zeros((R, U), h.dtype.element_ty)
        for t in range(steps, T):
            tl.store(h + (at * (T + 1) + t + 1) * H + wide, zero, inside)


@triton.jit
def backward(
    u, h, lengths, output_grad, last_grad, output_log,
    deltas, state_grad, log_scale, initial_grad, T, B, H, stride_b, stride_t,
    R: tl.constexpr, U: tl.constexpr, PADDED: tl.constexpr, RELU: tl.constexpr, OUTPUT: tl.constexpr,
    LAST: tl.constexpr, DELTAS: tl.constexpr, STATES: tl.constexpr, RENORMALISE: tl.constexpr,
    OUTPUT_LOG: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Compute the gradients at the pre-activations and at the states of all steps.

    Args:
        u: (H, H).
        h: (B, T + 1, H).
        lengths: (B,), read if PADDED.
        output_grad: gradient from outside (B, T, H) with the strides below, read if OUTPUT.
        last_grad: gradient at the last state (B, H), read if LAST.
        output_log: logarithm of the scale of `output_grad` (B, T), float64, read if OUTPUT_LOG.
        deltas: (B, T, H), written if DELTAS.
        state_grad: ∂L/∂h_t (B, T, H), written if STATES.
        log_scale: (B, T), float64, written if RENORMALISE.
        initial_grad: ∂L/∂h_0 (B, H), written.
        T: steps.
        B: batch size.
        H: hidden size.
        stride_b: of `output_grad`.
        stride_t: of `output_grad`.
    """
    row = tl.program_id(0) * R + tl.arange(0, R)
    unit = tl.arange(0, U)
    inside = (row < B)[:, None] & (unit < H)[None, :]
    at, wide = row.to(tl.int64)[:, None], unit[None, :]
    weights = load_weights(u, 0, H, U, False)
    # Compared as blocks: Triton 3.9's interpreter cannot mask by a block and a scalar.
    first = tl.zeros((R,), tl.int64)
    length = sequence_lengths(lengths, row, T, B, R, PADDED)
    last = tl.zeros((R, U), h.dtype.element_ty)
    if LAST:
        last = tl.load(last_grad + at * H + wide, inside, 0.0)
    carry = tl.zeros((R, U), h.dtype.element_ty)
    log = tl.zeros((R,), tl.float64)
    valid = inside & (length > T - 1)[:, None]
    state = tl.load(h + (at * (T + 1) + T) * H + wide, valid, 0.0)
    entering = entering_grad(output_grad, at, wide, T - 1, stride_b, stride_t, valid, carry, OUTPUT)
    for back in range(0, T):
        t = T - 1 - back
        # Loaded a step ahead, because a load takes longer than the arithmetic of a step.
        ahead = inside & ((t - 1 < length) & (t > first))[:, None]
        next_state = tl.load(h + (at * (T + 1) + t) * H + wide, ahead, 0.0)
        next_entering = entering_grad(output_grad, at, wide, t - 1, stride_b, stride_t, ahead, carry, OUTPUT)
        if LAST:
            entering = tl.where((t == length - 1)[:, None], entering + last, entering)
        if RENORMALISE:
            a, _, log = add_renormalised(
                carry, carry, entering, entering, log, output_log, log_scale, row, t, T, B, False, OUTPUT_LOG
            )
        else:
            a = carry + entering
        if STATES:
            tl.store(state_grad + (at * T + t) * H + wide, a, inside)
        delta = tl.where(state > 0, a, 0.0) if RELU else a * (1 - state * state)
        if DELTAS:
            tl.store(deltas + (at * T + t) * H + wide, delta, inside)
        carry = product(delta, weights, DOT)
        state, entering = next_state, next_entering
    tl.store(initial_grad + at * H + wide, carry, inside)
