"""The kernels of a GRU; see `gatescope.cells.gru` for its equations."""

from __future__ import annotations

import triton
import triton.language as tl

from gatescope.cells.kernels.gpu.step import (
    add_renormalised,
    entering_grad,
    load_weights,
    product3,
    sequence_lengths,
    sigmoid,
    sum3,
    tanh,
)


@triton.jit
def forward(
    gates, u, recurrent_bias, initial, lengths, h, extra, T, B, H,
    R: tl.constexpr, U: tl.constexpr, PADDED: tl.constexpr, STARTED: tl.constexpr, KEEP: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """Compute all states, and overwrite the products with the inputs by the gates.

    Args:
        gates: W x_t and its bias (B, T, 3H); with KEEP r, z, n on return.
        u: (3H, H).
        recurrent_bias: of U h_{t-1}, (3H,).
        initial: h_0 (B, H), read if STARTED.
        lengths: (B,), read if PADDED.
        h: (B, T + 1, H), written.
        extra: U_n h + b_n (B, T, H), written if KEEP.
        T: steps.
        B: batch size.
        H: hidden size.
    """
    row = tl.program_id(0) * R + tl.arange(0, R)
    unit = tl.arange(0, U)
    inside = (row < B)[:, None] & (unit < H)[None, :]
    at, wide = row.to(tl.int64)[:, None], unit[None, :]
    u_r = load_weights(u, 0, H, U, True)
    u_z = load_weights(u, 1, H, U, True)
    u_n = load_weights(u, 2, H, U, True)
    b_r = tl.load(recurrent_bias + unit, unit < H, 0.0)[None, :]
    b_z = tl.load(recurrent_bias + H + unit, unit < H, 0.0)[None, :]
    b_n = tl.load(recurrent_bias + 2 * H + unit, unit < H, 0.0)[None, :]
    state = tl.zeros((R, U), h.dtype.element_ty)
    if STARTED:
        state = tl.load(initial + at * H + wide, inside, 0.0)
    tl.store(h + at * (T + 1) * H + wide, state, inside)
    steps = T
    length = sequence_lengths(lengths, row, T, B, R, PADDED)
    if PADDED:
        steps = tl.max(length, 0).to(tl.int32)
    place = gates + at * T * (3 * H) + wide
    p_r = tl.load(place, inside, 0.0)
    p_z = tl.load(place + H, inside, 0.0)
    p_n = tl.load(place + 2 * H, inside, 0.0)
    for t in range(0, steps):
        # Loaded a step ahead, because a load takes longer than the arithmetic of a step.
        ahead = inside & (t + 1 < length)[:, None]
        next_r = tl.load(place + 3 * H, ahead, 0.0)
        next_z = tl.load(place + 4 * H, ahead, 0.0)
        next_n = tl.load(place + 5 * H, ahead, 0.0)
        q_r, q_z, q_n = product3(state, u_r, u_z, u_n, DOT)
        q_n += b_n
        r, z = sigmoid(p_r + b_r + q_r), sigmoid(p_z + b_z + q_z)
        n = tanh(p_n + r * q_n)
        new = (1 - z) * n + z * state
        valid = inside
        if PADDED:
            valid = inside & (t < length)[:, None]
        state = tl.where(valid, new, state)
        tl.store(h + (at * (T + 1) + t + 1) * H + wide, tl.where(valid, new, 0.0), inside)
        if KEEP:
            tl.store(place, tl.where(valid, r, 0.0), inside)
            tl.store(place + H, tl.where(valid, z, 0.0), inside)
            tl.store(place + 2 * H, tl.where(valid, n, 0.0), inside)
            tl.store(extra + (at * T + t) * H + wide, tl.where(valid, q_n, 0.0), inside)
        place += 3 * H
        p_r, p_z, p_n = next_r, next_z, next_n
    if PADDED:
        zero = tl.zeros((R, U), h.dtype.element_ty)
        for t in range(steps, T):
            tl.store(h + (at * (T + 1) + t + 1) * H + wide, zero, inside)
            if KEEP:
                tl.store(place, zero, inside)
                tl.store(place + H, zero, inside)
                tl.store(place + 2 * H, zero, inside)
                tl.store(extra + (at * T + t) * H + wide, zero, inside)
            place += 3 * H


@triton.jit
def backward(
    gates, u, extra, h, lengths, output_grad, last_grad, output_log,
    deltas, state_grad, log_scale, initial_grad, T, B, H, stride_b, stride_t,
    R: tl.constexpr, U: tl.constexpr, PADDED: tl.constexpr, OUTPUT: tl.constexpr, LAST: tl.constexpr,
    DELTAS: tl.constexpr, STATES: tl.constexpr, RENORMALISE: tl.constexpr, OUTPUT_LOG: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """Compute the gradients at the pre-activations and at the states of all steps.

    Args:
        gates: r, z, n (B, T, 3H).
        u: (3H, H).
        extra: U_n h + b_n (B, T, H).
        h: (B, T + 1, H).
        lengths: (B,), read if PADDED.
        output_grad: gradient from outside (B, T, H) with the strides below, read if OUTPUT.
        last_grad: gradient at the last state (B, H), read if LAST.
        output_log: logarithm of the scale of `output_grad` (B, T), float64, read if OUTPUT_LOG.
        deltas: gradients at r, z, n and U_n h + b_n (B, T, 4H), written if DELTAS.
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
    u_r = load_weights(u, 0, H, U, False)
    u_z = load_weights(u, 1, H, U, False)
    u_n = load_weights(u, 2, H, U, False)
    # Compared as blocks: Triton 3.9's interpreter cannot mask by a block and a scalar.
    first = tl.zeros((R,), tl.int64)
    length = sequence_lengths(lengths, row, T, B, R, PADDED)
    last = tl.zeros((R, U), h.dtype.element_ty)
    if LAST:
        last = tl.load(last_grad + at * H + wide, inside, 0.0)
    carry = tl.zeros((R, U), h.dtype.element_ty)
    log = tl.zeros((R,), tl.float64)
    valid = inside & (length > T - 1)[:, None]
    r, z, n, q_n, before = _saved(gates, extra, h, at, wide, T - 1, T, H, valid)
    entering = entering_grad(output_grad, at, wide, T - 1, stride_b, stride_t, valid, carry, OUTPUT)
    for back in range(0, T):
        t = T - 1 - back
        # Loaded a step ahead, because a load takes longer than the arithmetic of a step.
        valid = inside & ((t - 1 < length) & (t > first))[:, None]
        next_r, next_z, next_n, next_q, next_before = _saved(gates, extra, h, at, wide, t - 1, T, H, valid)
        next_entering = entering_grad(output_grad, at, wide, t - 1, stride_b, stride_t, valid, carry, OUTPUT)
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
        d_n = a * (1 - z) * (1 - n * n)
        d_z = a * (before - n) * z * (1 - z)
        d_r = d_n * q_n * r * (1 - r)
        d_q = d_n * r
        if DELTAS:
            place = deltas + (at * T + t) * (4 * H) + wide
            tl.store(place, d_r, inside)
            tl.store(place + H, d_z, inside)
            tl.store(place + 2 * H, d_n, inside)
            tl.store(place + 3 * H, d_q, inside)
        carry = a * z + sum3(d_r, u_r, d_z, u_z, d_q, u_n, DOT)
        r, z, n, q_n, before, entering = next_r, next_z, next_n, next_q, next_before, next_entering
    tl.store(initial_grad + at * H + wide, carry, inside)


@triton.jit
def _saved(gates, extra, h, at, wide, t, T, H, valid):
    """Return r, z, n, U_n h_{t-1} + b_n and h_{t-1} of step t, (R, U) each."""
    place = gates + (at * T + t) * (3 * H) + wide
    return (
        tl.load(place, valid, 0.0),
        tl.load(place + H, valid, 0.0),
        tl.load(place + 2 * H, valid, 0.0),
        tl.load(extra + (at * T + t) * H + wide, valid, 0.0),
        tl.load(h + (at * (T + 1) + t) * H + wide, valid, 0.0),
    )
