"""Vectors stored as values · exp(log_scale), with one scale per vector.

A product over a long lag then neither underflows nor overflows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rescale(values: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same vectors with largest entry 1.

    Args:
        values: (…, H).
        log_scale: (…), float64.

    Returns:
        Values and log scales of the same shapes. A subnormal vector is divided by the smallest normal number
        and its largest entry stays below 1. The log scale of a zero vector is 0.
    """
    largest = values.abs().amax(-1, keepdim=True)
    divisor = largest.clamp_min(torch.finfo(values.dtype).tiny)
    log = torch.where(largest[..., 0] == 0, 0, log_scale + divisor[..., 0].double().log())
    return values / divisor, log


def add_scaled(a: Tensor, log_a: Tensor, b: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    """Add two sets of scaled vectors.

    Args:
        a: (…, H), times exp(`log_a`).
        log_a: (…), float64.
        b: (…, H), times exp(`log_b`).
        log_b: (…), float64.

    Returns:
        The sum in the same form, with no entry above 2. The log scale is 0 where both vectors are 0.
    """
    a, log_a = _to_unit(a, log_a)
    b, log_b = _to_unit(b, log_b)
    log = torch.maximum(log_a, log_b)
    log = log.masked_fill(log == -torch.inf, 0)
    weight_a = (log_a - log).exp().to(a.dtype)[..., None]
    weight_b = (log_b - log).exp().to(b.dtype)[..., None]
    return a * weight_a + b * weight_b, log


def _to_unit(values: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same vectors with largest entry 1; the log scale of a zero vector is -inf."""
    largest = values.abs().amax(-1, keepdim=True)
    tiny = torch.finfo(values.dtype).tiny
    # Dividing a subnormal vector by itself would lose its direction: scale it up first.
    lift = torch.ones_like(largest).masked_fill(largest < tiny, 1 / tiny)
    largest = largest * lift
    unit = values * lift / largest.clamp_min(tiny)
    return unit, log_scale + (largest.double().log() - lift.double().log()).squeeze(-1)
