"""Clipping beside torch's own; what Lightning notes on the module."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gatescope.training.module import clip_norm


def parameters(*gradients: list[float] | None) -> list[nn.Parameter]:
    made = []
    for gradient in gradients:
        made.append(nn.Parameter(torch.zeros(1 if gradient is None else len(gradient))))
        made[-1].grad = None if gradient is None else torch.tensor(gradient)
    return made


numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5)


@given(gradients=st.lists(st.none() | numbers, max_size=4), bound=st.floats(0.1, 100) | st.just(math.inf))
def test_norms_are_clipped_as_torch_clips_them(gradients, bound):
    ours, theirs = parameters(*gradients), parameters(*gradients)
    norm, clipped = clip_norm(ours, bound)
    expected = nn.utils.clip_grad_norm_(theirs, bound)
    torch.testing.assert_close(norm, expected)
    assert bool(clipped) == bool(expected > bound)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_left_for_the_loss_to_tell(wrong):
    ours, theirs = parameters([1.0, wrong]), parameters([1.0, wrong])
    norm, _ = clip_norm(ours, 1.0)
    assert not math.isfinite(norm)
    nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad, equal_nan=True)
