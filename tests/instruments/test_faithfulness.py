"""Faithfulness of attention in two models where the correct result is known by construction."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from constructed_models import TASK, constructed_batch, constructed_model, loss
from small_models import encoder, feature_batch, squared_error

from gatescope.cells.gru import GRU
from gatescope.cells.rnn import RNN
from gatescope.instruments.attention_evaluation import AttentionEvaluation
from gatescope.instruments.faithfulness import Faithfulness
from gatescope.instruments.measurements import Curve, Heatmap, Measurements, Points, Scalar, Undefined
from gatescope.instruments.probe import Probe, probe_model
from gatescope.models.attention import Dot, FrozenRandom, Pooling, ScaledDot, Uniform
from gatescope.models.encoder import Encoder
from gatescope.sequences import valid_mask


def evaluate(mixed: bool) -> Measurements:
    return Faithfulness(nodes=32).read(probe_model(constructed_model(mixed), constructed_batch(), loss))


def value(measurements: Measurements, name: str) -> float:
    measurement = measurements[f"attention/{name}"]
    assert isinstance(measurement, Scalar), (name, measurement)
    return measurement.value


MEASURES = [
    *(
        f"tau/{measure}/{level}"
        for measure in ("gradient_input", "leave_one_out")
        for level in ("token", "state")
    ),
    "tau/integrated_gradients/token",
]


def test_attention_as_the_only_path_is_faithful() -> None:
    measurements = evaluate(mixed=False)
    for measure in MEASURES:
        assert value(measurements, measure) > 0.6, measure
        assert value(measurements, f"{measure}/beyond_chance") > 0.8, measure
    assert value(measurements, "permutation/total_variation") > 0.05
    for kind in ("comprehensiveness", "sufficiency"):
        assert value(measurements, f"{kind}/attention") > 0.85
        assert 0.1 < value(measurements, f"{kind}/random") < 0.6


def test_attention_over_states_with_equal_information_is_not_faithful() -> None:
    measurements = evaluate(mixed=True)
    assert value(measurements, "permutation/total_variation") < 0.01, (
        "the weights do not change the prediction"
    )
    for measure in MEASURES:
        if measure.endswith("token"):
            chance = value(measurements, f"{measure}/permuted_spread")
            assert abs(value(measurements, measure)) < 4 * chance, measure
            assert value(measurements, f"{measure}/beyond_chance") < 0.2, measure
    for kind in ("comprehensiveness", "sufficiency"):
        found, random = (value(measurements, f"{kind}/{name}") for name in ("attention", "random"))
        assert abs(found - random) < 0.15, "no better than a random ranking"


def test_integrated_gradients_are_complete_in_both_models() -> None:
    for mixed in (False, True):
        assert value(evaluate(mixed), "integrated_gradients/completeness_error") < 1e-6


def small_probe(attention: object, lengths: list[int], **options: object) -> Probe:
    model = encoder(GRU, attention=attention, hidden=4, **options)
    return probe_model(model, feature_batch(lengths, 3), squared_error)


def test_permutations_use_valid_steps_only() -> None:
    # With equal weights every permutation is the same prediction, padding included.
    probe = probe_model(constructed_model(mixed=False), constructed_batch(), loss)
    evaluation = AttentionEvaluation(probe.model, probe.batch, torch.arange(6))
    valid = evaluation.valid[:, None]
    evaluation.weights = valid.double() / evaluation.lengths[:, None, None]
    evaluation.values = probe.model.head((evaluation.weights @ evaluation.states)[:, 0])
    measurement = evaluation.permutation(7)["permutation/total_variation"]
    assert isinstance(measurement, Scalar)
    assert measurement.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("attention", [Dot, FrozenRandom, partial(ScaledDot, heads=2)])
def test_a_regression_has_agreement_and_no_distributions(attention: object) -> None:
    measurements = Faithfulness(nodes=8).read(small_probe(attention, [6, 4, 1], bidirectional=True))
    assert isinstance(measurements["attention/tau/leave_one_out/token"], Scalar)
    assert value(measurements, "integrated_gradients/completeness_error") < 1e-3
    for name in ("permutation/total_variation", "comprehensiveness", "sufficiency"):
        measurement = measurements[f"attention/{name}"]
        assert isinstance(measurement, Undefined)
        assert "not a distribution" in measurement.why


def test_uniform_weights_have_no_rank_correlation() -> None:
    measurements = Faithfulness().read(small_probe(Uniform, [6, 4]))
    measurement = measurements["attention/tau/gradient_input/token"]
    assert isinstance(measurement, Undefined)
    assert "equal" in measurement.why


@pytest.mark.parametrize(
    ("probe", "names"),
    [
        (lambda: small_probe(Pooling, [3, 2]), set()),
        (lambda: small_probe(Dot, [1, 1]), {"attention/tau"}),
    ],
)
def test_without_attention_or_lag_there_is_no_measurement(
    probe: Callable[[], Probe], names: set[str]
) -> None:
    measurements = Faithfulness().read(probe())
    assert set(measurements) == names
    assert all(isinstance(measurement, Undefined) for measurement in measurements.values())


def test_weights_that_are_not_finite() -> None:
    probe = small_probe(Dot, [3, 2])
    probe.attention = torch.full((2, 1, 3), math.nan)
    assert Faithfulness().read(probe) == {"attention/tau": Undefined("weights not finite")}


def test_measuring_is_repeatable_and_does_not_change_the_model() -> None:
    probe = small_probe(Dot, [6, 4, 5], dropout=0.5)
    model = probe.model.train()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, again = (Faithfulness(nodes=4).read(probe) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_measurements_have_the_shapes_that_figures_need() -> None:
    measurements = evaluate(mixed=False)
    curve = measurements["attention/comprehensiveness/random/curve"]
    assert isinstance(curve, Curve)
    assert curve.x == [1.0, 5.0, 10.0, 20.0, 50.0]
    points = measurements["attention/permutation/examples"]
    assert isinstance(points, Points)
    assert len(points.columns["greatest_weight"]) == 48
    heatmap = measurements["attention/weights"]
    assert isinstance(heatmap, Heatmap)
    assert np.sum(heatmap.values, axis=1) == pytest.approx(np.ones(32), abs=1e-3)


def probe_with_known_truth(mixed: bool) -> Probe:
    """Return a probe with the deciding word: the one with the most evidence."""
    model, batch = constructed_model(mixed), constructed_batch()
    assert model.embedding is not None
    evidence = model.embedding.weight[:, 0][batch.inputs].abs()
    evidence = evidence.masked_fill(~valid_mask(batch.lengths, batch.inputs.shape[1]), -1)
    probe = probe_model(model, batch, loss)
    probe.alignment = torch.nn.functional.one_hot(evidence.argmax(1), batch.inputs.shape[1]).bool()[:, None]
    return probe


def test_measures_are_compared_with_the_known_truth() -> None:
    # In the faithful model the most salient word decides; in the other the weights are elsewhere.
    for mixed in (False, True):
        probe = probe_with_known_truth(mixed)
        measurements = Faithfulness(nodes=0, permutations=2).read(probe)
        found = {
            name: value(measurements, f"truth/{name}") for name in ("attention", "gradient_input", "chance")
        }
        assert found["gradient_input"] > 0.9, "two words of opposite evidence may tie"
        assert found["chance"] == pytest.approx((1 / probe.batch.lengths).mean().item())
        assert found["attention"] == 1 if not mixed else found["attention"] < 0.3


def test_tied_highest_steps_count_in_equal_parts() -> None:
    # Uniform weights rank no step above another, so that their score is that of chance.
    model = Encoder(TASK, RNN, Uniform, hidden_size=3, embedding_size=2).double().eval()
    probe = probe_model(model, constructed_batch(), loss)
    probe.alignment = torch.zeros(48, 1, probe.batch.inputs.shape[1], dtype=torch.bool)
    probe.alignment[:, :, 0] = True
    measurements = Faithfulness(nodes=0, permutations=2).read(probe)
    assert value(measurements, "truth/attention") == pytest.approx(value(measurements, "truth/chance"))


def test_all_measures_rank_the_compared_steps() -> None:
    probe = probe_with_known_truth(mixed=False)
    measurements = Faithfulness(nodes=0, permutations=2, steps=2).read(probe)
    assert value(measurements, "truth/attention") == 1
    assert value(measurements, "truth/leave_one_out") > 0.9, (
        "not the share of examples in which it was left out"
    )
    assert value(measurements, "truth/chance") == pytest.approx(0.5)


def test_truth_is_undefined_without_a_deciding_step() -> None:
    probe = probe_model(constructed_model(False), constructed_batch(), loss)
    probe.alignment = torch.zeros(48, 1, probe.batch.inputs.shape[1], dtype=torch.bool)
    measurements = Faithfulness(nodes=0, permutations=2).read(probe)
    assert isinstance(measurements["attention/truth/attention"], Undefined)
