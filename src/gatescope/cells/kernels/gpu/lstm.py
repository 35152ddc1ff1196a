"""The kernels of an LSTM, with and without peepholes; see `gatescope.cells.lstm` and `peephole_lstm`."""

from __future__ import annotations

import triton
import triton.language as tl

from gatescope.cells.kernels.gpu.step import (
    add_renormalised,
    entering_grad,
    load_weights,
    product4,
    sequence_lengths,
    sigmoid,
    sum4,
    tanh,
)


@triton.jit
def forward(
    gates, u, recurrent_bias, peepholes, initial, initial_c, lengths, h, c, T, B, H,
    R: tl.constexpr, U: tl.constexpr, PADDED: tl.constexpr, STARTED: tl.constexpr, KEEP: tl.constexpr,
    PEEPHOLES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Compute all states, and overwrite the products with the inputs by the gates.

    Args:
        gates: W x_t and its bias (B, T, 4H); with KEEP i, f, g, o on return.
        u: (4H, H).
        recurrent_bias: of U h_{t-1} (4H,), read without PEEPHOLES.
        peepholes: (3, H), read if PEEPHOLES.
        initial: h_0 (B, H), read if STARTED.
        initial_c: c_0 (B, H), read if STARTED.
        lengths: (B,), read if PADDED.
        h: (B, T + 1, H), written.
        c: (B, T + 1, H), written.
        T: steps.
        B: batch size.
        H: hidden size.
    """
    row = tl.program_id(0) * R + tl.arange(0, R)
    unit = tl.arange(0, U)
    inside = (row < B)[:, None] & (unit < H)[None, :]
    at, wide = row.to(tl.int64)[:, None], unit[None, :]
    u_i = load_weights(u, 0, H, U, True)
    u_f = load_weights(u, 1, H, U, True)
    u_g = load_weights(u, 2, H, U, True)
    u_o = load_weights(u, 3, H, U, True)
    if not PEEPHOLES:
        b_i = tl.load(recurrent_bias + unit, unit < H, 0.0)[None, :]
        b_f = tl.load(recurrent_bias + H + unit, unit < H, 0.0)[None, :]
        b_g = tl.load(recurrent_bias + 2 * H + unit, unit < H, 0.0)[None, :]
        b_o = tl.load(recurrent_bias + 3 * H + unit, unit < H, 0.0)[None, :]
    state = tl.zeros((R, U), h.dtype.element_ty)
    memory = state
    peep_i, peep_f, peep_o = _peepholes(peepholes, unit, H, memory, PEEPHOLES)
    if STARTED:
        state = tl.load(initial + at * H + wide, inside, 0.0)
        memory = tl.load(initial_c + at * H + wide, inside, 0.0)
    tl.store(h + at * (T + 1) * H + wide, state, inside)
    tl.store(c + at * (T + 1) * H + wide, memory, inside)
    steps = T
    length = sequence_lengths(lengths, row, T, B, R, PADDED)
    if PADDED:
        steps = tl.max(length, 0).to(tl.int32)
    place = gates + at * T * (4 * H) + wide
    p_i, p_f, p_g, p_o = _four(place, H, inside)
    for t in range(0, steps):
        # Loaded a step ahead, because a load takes longer than the arithmetic of a step.
        next_i, next_f, next_g, next_o = _four(place + 4 * H, H, inside & (t + 1 < length)[:, None])
        q_i, q_f, q_g, q_o = product4(state, u_i, u_f, u_g, u_o, DOT)
        q_i, q_f, q_g, q_o = p_i + q_i, p_f + q_f, p_g + q_g, p_o + q_o
        if PEEPHOLES:
            q_i, q_f = q_i + peep_i * memory, q_f + peep_f * memory
        else:
            q_i, q_f, q_g, q_o = q_i + b_i, q_f + b_f, q_g + b_g, q_o + b_o
        i, f, g = sigmoid(q_i), sigmoid(q_f), tanh(q_g)
        new_c = f * memory + i * g
        if PEEPHOLES:
            q_o += peep_o * new_c
        o = sigmoid(q_o)
        new = o * tanh(new_c)
        valid = inside
        if PADDED:
            valid = inside & (t < length)[:, None]
        state, memory = tl.where(valid, new, state), tl.where(valid, new_c, memory)
        after = (at * (T + 1) + t + 1) * H + wide
        tl.store(h + after, tl.where(valid, new, 0.0), inside)
        tl.store(c + after, tl.where(valid, new_c, 0.0), inside)
        if KEEP:
            tl.store(place, tl.where(valid, i, 0.0), inside)
            tl.store(place + H, tl.where(valid, f, 0.0), inside)
            tl.store(place + 2 * H, tl.where(valid, g, 0.0), inside)
            tl.store(place + 3 * H, tl.where(valid, o, 0.0), inside)
        place += 4 * H
        p_i, p_f, p_g, p_o = next_i, next_f, next_g, next_o
    if PADDED:
        zero = tl.zeros((R, U), h.dtype.element_ty)
        for t in range(steps, T):
            after = (at * (T + 1) + t + 1) * H + wide
            tl.store(h + after, zero, inside)
            tl.store(c + after, zero, inside)
            if KEEP:
                tl.store(place, zero, inside)
                tl.store(place + H, zero, inside)
                tl.store(place + 2 * H, zero, inside)
                tl.store(place + 3 * H, zero, inside)
            place += 4 * H


@triton.jit
def backward(
    gates, u, peepholes, c, lengths, output_grad, output_grad_c, last_grad, last_grad_c, output_log,
    deltas, state_grad, state_grad_c, log_scale, initial_grad, initial_grad_c, T, B, H,
    stride_b, stride_t, stride_c_b, stride_c_t,
    R: tl.constexpr, U: tl.constexpr, PADDED: tl.constexpr, PEEPHOLES: tl.constexpr, OUTPUT: tl.constexpr,
    OUTPUT_C: tl.constexpr, LAST: tl.constexpr, LAST_C: tl.constexpr, DELTAS: tl.constexpr,
    STATES: tl.constexpr, RENORMALISE: tl.constexpr, OUTPUT_LOG: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Compute the gradients at the pre-activations and at the states of all steps.

    Args:
        gates: i, f, g, o (B, T, 4H).
        u: (4H, H).
        peepholes: (3, H), read if PEEPHOLES.
        c: (B, T + 1, H).
        lengths: (B,), read if PADDED.
        output_grad: gradient from outside at h (B, T, H) with the strides below, read if OUTPUT.
        output_grad_c: likewise at c, read if OUTPUT_C.
        last_grad: gradient at the last h (B, H), read if LAST.
        last_grad_c: at the last c, read if LAST_C.
        output_log: logarithm of the scale of the former two (B, T), float64, read if OUTPUT_LOG.
        deltas: gradients at i, f, g, o (B, T, 4H), written if DELTAS.
        state_grad: ∂L/∂h_t (B, T, H), written if STATES.
        state_grad_c: ∂L/∂c_t (B, T, H), written if STATES.
        log_scale: (B, T), float64, written if RENORMALISE.
        initial_grad: ∂L/∂h_0 (B, H), written.
        initial_grad_c: ∂L/∂c_0 (B, H), written.
        T: steps.
        B: batch size.
        H: hidden size.
        stride_b: of `output_grad`.
        stride_t: of `output_grad`.
        stride_c_b: of `output_grad_c`.
        stride_c_t: of `output_grad_c`.
    """
    row = tl.program_id(0) * R + tl.arange(0, R)
    unit = tl.arange(0, U)
    inside = (row < B)[:, None] & (unit < H)[None, :]
    at, wide = row.to(tl.int64)[:, None], unit[None, :]
    u_i = load_weights(u, 0, H, U, False)
    u_f = load_weights(u, 1, H, U, False)
    u_g = load_weights(u, 2, H, U, False)
    u_o = load_weights(u, 3, H, U, False)
    # Compared as blocks: Triton 3.9's interpreter cannot mask by a block and a scalar.
    first = tl.zeros((R,), tl.int64)
    length = sequence_lengths(lengths, row, T, B, R, PADDED)
    carry = tl.zeros((R, U), c.dtype.element_ty)
    carry_c = carry
    peep_i, peep_f, peep_o = _peepholes(peepholes, unit, H, carry, PEEPHOLES)
    last, last_c = carry, carry
    if LAST:
        last = tl.load(last_grad + at * H + wide, inside, 0.0)
    if LAST_C:
        last_c = tl.load(last_grad_c + at * H + wide, inside, 0.0)
    log = tl.zeros((R,), tl.float64)
    valid = inside & (length > T - 1)[:, None]
    i, f, g, o = _four(gates + (at * T + T - 1) * (4 * H) + wide, H, valid)
    after = tl.load(c + (at * (T + 1) + T) * H + wide, valid, 0.0)
    entering = entering_grad(output_grad, at, wide, T - 1, stride_b, stride_t, valid, carry, OUTPUT)
    entering_c = entering_grad(output_grad_c, at, wide, T - 1, stride_c_b, stride_c_t, valid, carry, OUTPUT_C)
    for back in range(0, T):
        t = T - 1 - back
        # Loaded a step ahead, because a load takes longer than the arithmetic of a step.
        valid = inside & ((t - 1 < length) & (t > first))[:, None]
        next_i, next_f, next_g, next_o = _four(gates + (at * T + t - 1) * (4 * H) + wide, H, valid)
        # c_{t-1}, also needed at the first step, where it is the initial state.
        before = tl.load(c + (at * (T + 1) + t) * H + wide, inside, 0.0)
        next_entering = entering_grad(output_grad, at, wide, t - 1, stride_b, stride_t, valid, carry, OUTPUT)
        next_entering_c = entering_grad(
            output_grad_c, at, wide, t - 1, stride_c_b, stride_c_t, valid, carry, OUTPUT_C
        )
        is_last = (t == length - 1)[:, None]
        if LAST:
            entering = tl.where(is_last, entering + last, entering)
        if LAST_C:
            entering_c = tl.where(is_last, entering_c + last_c, entering_c)
        if RENORMALISE:
            a, a_c, log = add_renormalised(
                carry, carry_c, entering, entering_c, log, output_log, log_scale, row, t, T, B,
                True, OUTPUT_LOG,
            )  # fmt: skip
        else:
            a, a_c = carry + entering, carry_c + entering_c
        squashed = tanh(after)
        d_o = a * squashed * o * (1 - o)
        s = a_c + a * o * (1 - squashed * squashed)
        if PEEPHOLES:
            s += peep_o * d_o
        if STATES:
            tl.store(state_grad + (at * T + t) * H + wide, a, inside)
            tl.store(state_grad_c + (at * T + t) * H + wide, s, inside)
        d_i = s * g * i * (1 - i)
        d_f = s * before * f * (1 - f)
        d_g = s * i * (1 - g * g)
        if DELTAS:
            place = deltas + (at * T + t) * (4 * H) + wide
            tl.store(place, d_i, inside)
            tl.store(place + H, d_f, inside)
            tl.store(place + 2 * H, d_g, inside)
            tl.store(place + 3 * H, d_o, inside)
        carry = sum4(d_i, u_i, d_f, u_f, d_g, u_g, d_o, u_o, DOT)
        carry_c = s * f
        if PEEPHOLES:
            carry_c += peep_i * d_i + peep_f * d_f
        i, f, g, o, after = next_i, next_f, next_g, next_o, before
        entering, entering_c = next_entering, next_entering_c
    tl.store(initial_grad + at * H + wide, carry, inside)
    tl.store(initial_grad_c + at * H + wide, carry_c, inside)


@triton.jit
def _four(place, H, valid):
    """Return the four chunks of a step, (R, U) each."""
    return (
        tl.load(place, valid, 0.0),
        tl.load(place + H, valid, 0.0),
        tl.load(place + 2 * H, valid, 0.0),
        tl.load(place + 3 * H, valid, 0.0),
    )


@triton.jit
def _peepholes(peepholes, unit, H, like, PEEPHOLES: tl.constexpr):
    """Return the peepholes of i, f and o, (1, U) each, or zeros of the shape of `like`."""
    if PEEPHOLES:
        return (
            tl.load(peepholes + unit, unit < H, 0.0)[None, :],
            tl.load(peepholes + H + unit, unit < H, 0.0)[None, :],
            tl.load(peepholes + 2 * H + unit, unit < H, 0.0)[None, :],
        )
    return tl.zeros_like(like), tl.zeros_like(like), tl.zeros_like(like)
