"""Moments and quantiles of gates against known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gatescope.instruments import distributions
from gatescope.instruments.measurements import Undefined


def test_bimodality_of_known_distributions():
    uniform = torch.linspace(0, 1, 20_001)[:, None]
    coin = torch.tensor([0.0, 1.0]).repeat(500)[:, None]
    assert distributions.bimodality(distributions.unit_moments(uniform)).value == pytest.approx(
        5 / 9, rel=1e-3
    )
    assert distributions.bimodality(distributions.unit_moments(coin)).value == pytest.approx(1.0, rel=1e-5)
    assert isinstance(distributions.bimodality(distributions.unit_moments(torch.ones(4, 2))), Undefined)


@pytest.mark.parametrize(("rows", "units"), [(4000, 64), (2560, 24), (5120, 7), (20_000, 1)])
def test_quantiles_of_sampled_rows_are_within_the_stated_error(rows, units):
    # Units of very different levels, and steps that move all of them together: the hardest for a sample.
    rng = np.random.default_rng(0)
    level, together = np.linspace(0.05, 0.95, units), rng.uniform(-0.05, 0.05, (rows, 1))
    values = (level + together).astype(np.float32)
    measurements = distributions.gate_distribution("g", torch.from_numpy(values), False, 50)
    for q in (0.1, 0.5, 0.9):
        share = (values <= measurements[f"g/quantile_{round(100 * q)}"].value).mean()
        assert share == pytest.approx(q, abs=2 * 0.5 / math.sqrt(distributions.QUANTILE_ROWS))
    sampled = distributions.sample_rows(torch.from_numpy(values))
    assert len(sampled) == max(distributions.QUANTILE_ROWS, -(-distributions.QUANTILE_SAMPLE // units))
    assert len(sampled.unique(dim=0)) == len(np.unique(sampled.numpy(), axis=0)) > 500
