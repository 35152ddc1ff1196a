import math

import pytest
import torch
from small_models import Leaky, encoder, feature_batch, squared_error

from gatescope.instruments.attention import AttentionStatistics
from gatescope.instruments.measurements import Undefined
from gatescope.instruments.probe import probe_model
from gatescope.models.attention import Dot


def read(weights, lengths):
    probe = probe_model(encoder(Leaky, attention=Dot), feature_batch(lengths, 3), squared_error)
    if weights is not None:
        probe.attention = weights
    return AttentionStatistics().read(probe)


def test_uniform_weights():
    lengths = [4, 2]
    weights = torch.tensor([[[0.25] * 4], [[0.5, 0.5, 0, 0]]])
    measurements = read(weights, lengths)
    assert measurements["attention/entropy"].value == pytest.approx(1.0)
    assert measurements["attention/effective_length"].value == pytest.approx((4 + 2) / 2)
    assert measurements["attention/distance"].value == pytest.approx((1.5 + 0.5) / 2)


def test_one_hot_weights():
    measurements = read(torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]), [4])
    assert measurements["attention/entropy"].value == 0
    assert measurements["attention/effective_length"].value == pytest.approx(1.0)
    assert measurements["attention/distance"].value == pytest.approx(2.0)


def test_a_sequence_of_one_step_does_not_enter_the_entropy():
    measurements = read(torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]]), [2, 1])
    assert measurements["attention/entropy"].value == pytest.approx(1.0)


def test_only_sequences_of_one_step():
    measurements = read(None, [1, 1])
    assert isinstance(measurements["attention/entropy"], Undefined)
    assert measurements["attention/effective_length"].value == pytest.approx(1.0)
    assert measurements["attention/distance"].value == 0


def test_no_measurement_without_attention():
    probe = probe_model(encoder(Leaky), feature_batch([3, 2], 3), squared_error)
    assert AttentionStatistics().read(probe) == {}


def test_weights_that_are_not_finite_are_undefined():
    measurements = read(torch.full((1, 1, 3), math.nan), [3])
    assert all(isinstance(measurement, Undefined) for measurement in measurements.values())
