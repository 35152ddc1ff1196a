"""Gradient clipping, compared with torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from gatescope.training.gradients import clip_grad_norm


def parameters(*gradients: list[float] | None) -> list[nn.Parameter]:
    """Return parameters with these gradients."""
    result = []
    for gradient in gradients:
        result.append(nn.Parameter(torch.zeros(1 if gradient is None else len(gradient))))
        result[-1].grad = None if gradient is None else torch.tensor(gradient)
    return result


numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(gradients=st.lists(st.none() | numbers, max_size=4), bound=st.floats(0.1, 100) | st.just(math.inf))
def test_gradients_are_clipped_as_torch_clips_them(gradients, bound):
    ours, theirs = parameters(*gradients), parameters(*gradients)
    norm, is_clipped = clip_grad_norm(ours, bound)
    expected = nn.utils.clip_grad_norm_(theirs, bound)
    torch.testing.assert_close(norm, expected)
    assert bool(is_clipped) == bool(expected > bound)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_gradients_give_a_non_finite_norm(value):
    ours, theirs = parameters([1.0, value]), parameters([1.0, value])
    norm, _ = clip_grad_norm(ours, 1.0)
    assert not math.isfinite(norm)
    nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad, equal_nan=True)
