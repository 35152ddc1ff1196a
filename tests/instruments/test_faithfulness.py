"""Attention on trial: two planted models whose verdicts are known, and the measures against loops."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_models import encoder, feature_batch, squared_error
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gatescope.cells.gru import GRU
from gatescope.cells.rnn import RNN
from gatescope.instruments.attention_evaluation import AttentionEvaluation
from gatescope.instruments.erasure import SHARES, erase, normalised, top
from gatescope.instruments.faithfulness import Faithfulness
from gatescope.instruments.measurements import Curve, Heatmap, Measurements, Points, Scalar, Undefined
from gatescope.instruments.probe import Probe, probe_model
from gatescope.instruments.rank_correlation import kendall_tau, null_spread
from gatescope.models.attention import Dot, FrozenRandom, Pooling, ScaledDot, Uniform
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, TaskSpec, valid_mask

WORDS = 40
TASK = TaskSpec("classification", "tokens", WORDS, 1, "accuracy", "max", padding_index=0)


def loss(values: Tensor, targets: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(values[:, 0], targets.double(), reduction="none")


def planted(mixed: bool) -> Encoder:
    """Words carry evidence for the label, and a salience that alone decides how much attention looks at them.

    Not `mixed`: a state knows its own word only, and evidence grows with salience: attention is the only path
    from a word to the label, and must be found faithful. `mixed`: two directions add all evidence up, so that
    every state knows the sum, and salience is drawn apart from evidence: where attention looks is of no
    consequence, and it cannot be faithful.
    """
    generator = torch.Generator().manual_seed(0)
    model = Encoder(TASK, RNN, ScaledDot, hidden_size=3, embedding_size=2, bidirectional=True).double().eval()
    evidence = torch.linspace(-1, 1, WORDS, dtype=torch.float64)
    salience = evidence[torch.randperm(WORDS, generator=generator)] if mixed else evidence
    assert model.embedding is not None
    with torch.no_grad():
        # So small that tanh is the identity.
        model.embedding.weight[:, 0] = 0.01 * (evidence if mixed else evidence.exp())
        model.embedding.weight[:, 1] = salience
        for layer in model.stack.layers.values():
            for weight in layer.weights:
                weight.zero_()
            layer.input_weights.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 0]]))
            layer.recurrent_weights[0, 0] = float(mixed)
        model.attention.query.copy_(torch.tensor([[0, 8.0, 0, 0, 0, 0]]))
        # Forward and backward sums both hold the word itself.
        model.head.weight.copy_(
            100 * torch.tensor([[1.0, 0, -1, 1, 0, 0]] if mixed else [[1.0, 0, 0, 0, 0, 0]])
        )
        model.head.bias.fill_(0 if mixed else -0.5)
    return model


def planted_batch(examples: int = 48, steps: int = 14) -> Batch:
    generator = np.random.default_rng(3)
    rows = np.stack([generator.choice(np.arange(1, WORDS), steps, replace=False) for _ in range(examples)])
    lengths = torch.from_numpy(generator.integers(8, steps + 1, examples))
    inputs = torch.from_numpy(rows) * valid_mask(lengths, steps)
    return Batch(inputs, lengths, torch.zeros(examples, dtype=torch.long), torch.arange(examples))


def evaluate(mixed: bool) -> Measurements:
    return Faithfulness(nodes=32).read(probe_model(planted(mixed), planted_batch(), loss))


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


def test_attention_that_is_the_only_path_is_found_faithful() -> None:
    measurements = evaluate(mixed=False)
    for measure in MEASURES:
        assert value(measurements, measure) > 0.6, measure
        assert value(measurements, f"{measure}/beyond_chance") > 0.8, measure
    assert value(measurements, "permutation/total_variation") > 0.05
    for kind in ("comprehensiveness", "sufficiency"):
        assert value(measurements, f"{kind}/attention") > 0.85
        assert 0.1 < value(measurements, f"{kind}/random") < 0.6


def test_attention_over_states_that_all_know_the_answer_is_found_empty() -> None:
    measurements = evaluate(mixed=True)
    assert value(measurements, "permutation/total_variation") < 0.01, "where it looks is of no consequence"
    chance = value(measurements, "tau/null_spread") / math.sqrt(48)
    for measure in MEASURES:
        if measure.endswith("token"):
            assert abs(value(measurements, measure)) < 4 * chance, measure
            assert value(measurements, f"{measure}/beyond_chance") < 0.2, measure
    for kind in ("comprehensiveness", "sufficiency"):
        found, random = (value(measurements, f"{kind}/{name}") for name in ("attention", "random"))
        assert abs(found - random) < 0.15, "no better than a ranking by lot"


def test_integrated_gradients_are_complete_in_both() -> None:
    for mixed in (False, True):
        assert value(evaluate(mixed), "integrated_gradients/completeness_error") < 1e-6


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9),
        min_size=1,
        max_size=4,
    )
)
@settings(deadline=None, max_examples=40)
def test_kendall_s_tau_is_scipy_s(rows: list[list[tuple[int, int]]]) -> None:
    longest = max(map(len, rows))
    a, b = (torch.full((len(rows), longest), math.nan) for _ in range(2))
    for i, row in enumerate(rows):
        for t, (x, y) in enumerate(row):
            a[i, t], b[i, t] = x, y
    found = kendall_tau(a, b, a.isfinite())
    for got, row in zip(found.tolist(), rows, strict=True):
        expected = stats.kendalltau(*zip(*row, strict=True)).statistic
        assert got == pytest.approx(expected, nan_ok=True)


def test_the_null_s_spread_is_that_of_independent_values() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (5, 12):
        a, b = (torch.rand(4000, n, generator=generator) for _ in range(2))
        tau = kendall_tau(a, b, torch.ones(4000, n, dtype=torch.bool))
        assert tau.std().item() == pytest.approx(null_spread(torch.tensor(n)).item(), rel=0.05)


def test_erasure_is_running_what_is_left() -> None:
    model, batch = planted(mixed=False), planted_batch(examples=5)
    scores = torch.rand(batch.inputs.shape, generator=torch.Generator().manual_seed(0))
    erased = erase(model, batch.inputs, batch.lengths, scores)

    def probability(words: Tensor) -> float:
        states = model.stack(model.embed(words[None]), torch.tensor([len(words)]))
        return torch.sigmoid(model.readout(states, torch.tensor([len(words)])).values).item()

    for b, length in enumerate(batch.lengths.tolist()):
        words = batch.inputs[b, :length]
        order = sorted(range(length), key=lambda t: -scores[b, t].item())
        whole = probability(words)
        sign = 1 if whole > 0.5 else -1
        for column, share in enumerate(SHARES):
            k = min(max(1, math.ceil(share * length)), length - 1)
            rest = words[sorted(order[k:])]
            taken = words[sorted(order[:k])]
            assert erased.comprehensiveness[b, column].item() == pytest.approx(
                sign * (whole - probability(rest)), abs=1e-9
            )
            assert erased.sufficiency[b, column].item() == pytest.approx(
                sign * (whole - probability(taken)), abs=1e-9
            )


def test_the_top_share_takes_one_and_leaves_one() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 9.0]])
    lengths = torch.tensor([3, 2])
    assert top(scores, lengths, 0.01).tolist() == [[False, True, False], [True, False, False]]
    assert top(scores, lengths, 0.5).tolist() == [[False, True, True], [True, False, False]]
    assert top(scores, lengths, 1.0).sum(1).tolist() == [2, 1]


def test_the_scale_is_the_model_s_own() -> None:
    least, most = torch.zeros(2, 5), torch.full((2, 5), 0.4)
    values = {"a": least, "b": most, "c": torch.full((2, 5), 0.1)}
    assert normalised(values, "max") == pytest.approx({"a": 0.0, "b": 1.0, "c": 0.25})
    assert normalised(values, "min") == pytest.approx({"a": 1.0, "b": 0.0, "c": 0.75})
    assert normalised({"a": least, "b": least}, "max") == {}


def small_probe(attention: object, lengths: list[int], **options: object) -> Probe:
    model = encoder(GRU, attention=attention, hidden=4, **options)
    return probe_model(model, feature_batch(lengths, 3), squared_error)


def test_permutations_move_weights_among_valid_steps_only() -> None:
    # With weights that are equal every permutation is the same prediction, padding included.
    probe = probe_model(planted(mixed=False), planted_batch(), loss)
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


def test_uniform_weights_have_no_order() -> None:
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
def test_nothing_to_try(probe: Callable[[], Probe], names: set[str]) -> None:
    measurements = Faithfulness().read(probe())
    assert set(measurements) == names
    assert all(isinstance(measurement, Undefined) for measurement in measurements.values())


def test_weights_that_are_not_finite() -> None:
    probe = small_probe(Dot, [3, 2])
    probe.attention = torch.full((2, 1, 3), math.nan)
    assert Faithfulness().read(probe) == {"attention/tau": Undefined("weights not finite")}


def test_reading_changes_nothing_and_repeats_itself() -> None:
    probe = small_probe(Dot, [6, 4, 5], dropout=0.5)
    model = probe.model.train()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, again = (Faithfulness(nodes=4).read(probe) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_readings_have_the_shapes_that_figures_take() -> None:
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


def look_at_evidence(mixed: bool) -> Probe:
    """A look that knows which word decides: the one of most evidence."""
    model, batch = planted(mixed), planted_batch()
    assert model.embedding is not None
    evidence = model.embedding.weight[:, 0][batch.inputs].abs()
    evidence = evidence.masked_fill(~valid_mask(batch.lengths, batch.inputs.shape[1]), -1)
    probe = probe_model(model, batch, loss)
    probe.alignment = torch.nn.functional.one_hot(evidence.argmax(1), batch.inputs.shape[1]).bool()[:, None]
    return probe


def test_where_the_truth_is_known_each_measure_is_held_against_it() -> None:
    # In the faithful model the most salient word decides; in the other one attention looks elsewhere.
    for mixed in (False, True):
        probe = look_at_evidence(mixed)
        measurements = Faithfulness(nodes=0, permutations=2).read(probe)
        found = {
            name: value(measurements, f"truth/{name}") for name in ("attention", "gradient_input", "chance")
        }
        assert found["gradient_input"] > 0.9, "two words of opposite evidence may tie"
        assert found["chance"] == pytest.approx((1 / probe.batch.lengths).mean().item())
        assert found["attention"] == 1 if not mixed else found["attention"] < 0.3


def test_steps_that_tie_for_the_highest_count_their_part_of_the_truth() -> None:
    # Uniform weights rank no step above another: they know the deciding step as well as chance does.
    model = Encoder(TASK, RNN, Uniform, hidden_size=3, embedding_size=2).double().eval()
    probe = probe_model(model, planted_batch(), loss)
    probe.alignment = torch.zeros(48, 1, probe.batch.inputs.shape[1], dtype=torch.bool)
    probe.alignment[:, :, 0] = True
    measurements = Faithfulness(nodes=0, permutations=2).read(probe)
    assert value(measurements, "truth/attention") == pytest.approx(value(measurements, "truth/chance"))


def test_where_few_steps_are_compared_all_measures_rank_those() -> None:
    probe = look_at_evidence(mixed=False)
    measurements = Faithfulness(nodes=0, permutations=2, steps=2).read(probe)
    assert value(measurements, "truth/attention") == 1
    assert value(measurements, "truth/leave_one_out") > 0.9, (
        "not the share of examples in which it was left out"
    )
    assert value(measurements, "truth/chance") == pytest.approx(0.5)


def test_a_truth_that_no_example_has() -> None:
    probe = probe_model(planted(False), planted_batch(), loss)
    probe.alignment = torch.zeros(48, 1, probe.batch.inputs.shape[1], dtype=torch.bool)
    measurements = Faithfulness(nodes=0, permutations=2).read(probe)
    assert isinstance(measurements["attention/truth/attention"], Undefined)
