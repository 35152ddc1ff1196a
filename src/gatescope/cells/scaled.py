"""Numbers kept as values · exp(log_scale), one scale a vector, so that products over long lags neither
underflow nor overflow."""

from __future__ import annotations

import torch
from torch import Tensor


def _unit(values: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same numbers with largest entry 1; a zero vector gets the log scale -inf."""
    largest = values.abs().amax(-1, keepdim=True)
    tiny = torch.finfo(values.dtype).tiny
    # Subnormal vectors would lose their direction in the division by themselves: they are lifted first.
    lift = torch.ones_like(largest).masked_fill(largest < tiny, 1 / tiny)
    largest = largest * lift
    unit = values * lift / largest.clamp_min(tiny)
    return unit, log_scale + (largest.double().log() - lift.double().log()).squeeze(-1)


def add_scaled(a: Tensor, log_a: Tensor, b: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    """(…, H) and (…) twice -> their sum likewise, no entry above 2; log scale 0 where both are 0."""
    a, log_a = _unit(a, log_a)
    b, log_b = _unit(b, log_b)
    log = torch.maximum(log_a, log_b)
    log = log.masked_fill(log == -torch.inf, 0)
    weight_a = (log_a - log).exp().to(a.dtype)[..., None]
    weight_b = (log_b - log).exp().to(b.dtype)[..., None]
    return a * weight_a + b * weight_b, log


def rescaled(values: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """(…, H), (…) -> the same numbers with largest entry 1, in few operations; log scale 0 for a zero vector.

    A subnormal vector comes out below 1: it is divided by the smallest normal number.
    """
    largest = values.abs().amax(-1, keepdim=True)
    divisor = largest.clamp_min(torch.finfo(values.dtype).tiny)
    log = torch.where(largest[..., 0] == 0, 0, log_scale + divisor[..., 0].double().log())
    return values / divisor, log
