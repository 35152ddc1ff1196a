"""Functions that the kernels of all cells share.

Shapes in a program: R sequences ("rows"), U units, U a power of two of at least H. Values beyond the batch or
beyond H are 0.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Return tanh(x), to float32's last digits also near 0."""
    size = tl.exp(-2 * tl.abs(x))
    far = (1 - size) / (1 + size)
    far = tl.where(x < 0, -far, far)
    if x.dtype == tl.float64:
        return far
    # 1 - exp(-2|x|) has no digits left near 0, where the series has all of float32's.
    square = x * x
    near = x * (1 + square * (-1 / 3 + square * (2 / 15 + square * (-17 / 315))))
    return tl.where(tl.abs(x) < 0.2, near, far)


@triton.jit
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + tl.exp(-x))


@triton.jit
def product(v, m, DOT: tl.constexpr):
    """Return v m for v (R, K) and m (K, U).

    Args:
        v: state or gradient.
        m: weights that stay in registers.
        DOT: whether to use the tensor cores, for R of at least 16 and weights of 16 bits.
    """
    if DOT:
        return tl.dot(v.to(m.dtype), m)
    return tl.sum(v[:, :, None] * m[None, :, :], axis=1)


@triton.jit
def _add3(a0, a1, a2, b0, b1, b2):
    return a0 + b0, a1 + b1, a2 + b2


@triton.jit
def _add4(a0, a1, a2, a3, b0, b1, b2, b3):
    return a0 + b0, a1 + b1, a2 + b2, a3 + b3


@triton.jit
def product3(v, m0, m1, m2, DOT: tl.constexpr):
    """Return the products of v (R, K) with three matrices (K, U); without tensor cores in one reduction."""
    if DOT:
        return (
            product(v, m0, DOT),
            product(v, m1, DOT),
            product(v, m2, DOT),
        )
    column = v[:, :, None]
    return tl.reduce((column * m0[None, :, :], column * m1[None, :, :], column * m2[None, :, :]), 1, _add3)


@triton.jit
def product4(v, m0, m1, m2, m3, DOT: tl.constexpr):
    """Return the products of v (R, K) with four matrices (K, U), as `product3` does."""
    if DOT:
        return (
            product(v, m0, DOT),
            product(v, m1, DOT),
            product(v, m2, DOT),
            product(v, m3, DOT),
        )
    column = v[:, :, None]
    return tl.reduce(
        (column * m0[None, :, :], column * m1[None, :, :], column * m2[None, :, :], column * m3[None, :, :]),
        1,
        _add4,
    )


@triton.jit
def sum3(v0, m0, v1, m1, v2, m2, DOT: tl.constexpr):
    """Return v0 m0 + v1 m1 + v2 m2 for v (R, K) and m (K, U); without tensor cores in one reduction."""
    if DOT:
        return product(v0, m0, DOT) + product(v1, m1, DOT) + product(v2, m2, DOT)
    first, second = v0[:, :, None] * m0[None, :, :], v1[:, :, None] * m1[None, :, :]
    s0, s1, s2 = tl.reduce((first, second, v2[:, :, None] * m2[None, :, :]), 1, _add3)
    return s0 + s1 + s2


@triton.jit
def sum4(v0, m0, v1, m1, v2, m2, v3, m3, DOT: tl.constexpr):
    """Return v0 m0 + … + v3 m3, as `sum3` does."""
    if DOT:
        return product(v0, m0, DOT) + product(v1, m1, DOT) + product(v2, m2, DOT) + product(v3, m3, DOT)
    first, second = v0[:, :, None] * m0[None, :, :], v1[:, :, None] * m1[None, :, :]
    third, fourth = v2[:, :, None] * m2[None, :, :], v3[:, :, None] * m3[None, :, :]
    s0, s1, s2, s3 = tl.reduce((first, second, third, fourth), 1, _add4)
    return s0 + s1 + s2 + s3


@triton.jit
def sequence_lengths(lengths, row, T, B, R: tl.constexpr, PADDED: tl.constexpr):
    """Return the length of each sequence of a program, (R,) int64; T where nothing is padded."""
    if PADDED:
        return tl.load(lengths + row, row < B, 0).to(tl.int64)
    return tl.full((R,), T, tl.int64)


@triton.jit
def load_weights(u, chunk, H, U: tl.constexpr, TRANSPOSED: tl.constexpr):
    """Return the H rows of a chunk of u (chunks·H, H) as (U, U), or their transpose."""
    first, second = tl.arange(0, U)[:, None], tl.arange(0, U)[None, :]
    inside = (first < H) & (second < H)
    if TRANSPOSED:
        return tl.load(u + (chunk * H + second) * H + first, inside, 0.0)
    return tl.load(u + (chunk * H + first) * H + second, inside, 0.0)


@triton.jit
def scales(carried, entering, log, entering_log):
    """Return how to add gradients that are stored with the logarithm of their scale.

    Args:
        carried: largest magnitude of what the next step returned, (R,).
        entering: largest magnitude of what enters from outside, (R,).
        log: logarithm of the scale of the former, (R,) float64.
        entering_log: of the latter.

    Returns:
        The factors of both, and the logarithm of the scale of the sum; no entry of the sum is above 2. The
        logarithm is 0 where both are 0.
    """
    # The smallest normal number: a division by a smaller one would overflow.
    TINY: tl.constexpr = 1.1754943508222875e-38
    none = float("-inf")
    by = tl.maximum(carried, TINY)
    entering_by = tl.maximum(entering, TINY)
    old = tl.where(carried == 0, none, log + tl.log(by.to(tl.float64)))
    new = tl.where(entering == 0, none, entering_log + tl.log(entering_by.to(tl.float64)))
    common = tl.maximum(old, new)
    common = tl.where(common == none, 0.0, common)
    weight = tl.exp(old - common).to(carried.dtype) / by
    entering_weight = tl.exp(new - common).to(carried.dtype) / entering_by
    return tl.where(carried == 0, 0.0, weight), tl.where(entering == 0, 0.0, entering_weight), common


@triton.jit
def entering_grad(output_grad, at, wide, t, stride_b, stride_t, valid, like, OUTPUT: tl.constexpr):
    """Return the gradient from outside at step t (R, U), of the type of `like`."""
    if OUTPUT:
        return tl.load(output_grad + at * stride_b + t * stride_t + wide, valid, 0.0).to(like.dtype)
    return tl.zeros_like(like)


@triton.jit
def add_renormalised(
    carry, carry_c, entering, entering_c, log, output_log, log_scale, row, t, T, B,
    MEMORY: tl.constexpr, OUTPUT_LOG: tl.constexpr,
):  # fmt: skip
    """Add what enters at step t to what the next step returned, and store the logarithm of the scale.

    Args:
        carry: what the next step returned at h, (R, U).
        carry_c: at c, used if MEMORY.
        entering: what enters at h.
        entering_c: what enters at c.
        log: logarithm of the scale of `carry`, (R,) float64.
        output_log: of the scale of what enters (B, T), float64, read if OUTPUT_LOG.
        log_scale: (B, T), float64, written.
        row: sequences of the program (R,).
        t: step.
        T: steps.
        B: batch size.

    Returns:
        The sums at h and at c, and the logarithm of their scale.
    """
    at = row.to(tl.int64) * T + t
    entering_log = tl.zeros_like(log)
    if OUTPUT_LOG:
        entering_log = tl.load(output_log + at, row < B, 0.0)
    largest, entering_largest = tl.max(tl.abs(carry), 1), tl.max(tl.abs(entering), 1)
    if MEMORY:
        largest = tl.maximum(largest, tl.max(tl.abs(carry_c), 1))
        entering_largest = tl.maximum(entering_largest, tl.max(tl.abs(entering_c), 1))
    by, entering_by, log = scales(largest, entering_largest, log, entering_log)
    tl.store(log_scale + at, log, row < B)
    by, entering_by = by[:, None], entering_by[:, None]
    return carry * by + entering * entering_by, carry_c * by + entering_c * entering_by, log
