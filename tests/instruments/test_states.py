"""Statistics of states with a known covariance."""

from __future__ import annotations

import pytest
import torch

from gatescope.instruments import states
from gatescope.instruments.measurements import Undefined


def test_participation_ratio_counts_equal_directions():
    axes = torch.cat([torch.eye(6), -torch.eye(6)])[:, :4]
    assert states.participation_ratio(axes).value == pytest.approx(4.0)
    assert isinstance(states.participation_ratio(torch.ones(1, 4)), Undefined)
