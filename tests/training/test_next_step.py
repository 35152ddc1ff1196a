"""One symbol per step and several outputs per step, compared with scikit-learn and numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, log_loss

from gatescope.sequences import IGNORE, TaskSpec
from gatescope.training.objective import objective_for

MUSIC = TaskSpec("next_step", "features", 5, 5, "nll", "min", multilabel=True, causal=True)
TEXT = TaskSpec("next_step", "tokens", 4, 4, "bpc", "min", causal=True, stateful=True)


def measured(objective, batches):
    metrics = objective.metrics()
    for values, targets in batches:
        metrics.update(*objective.outcome(values, targets))
    return {name: float(value) for name, value in metrics.compute().items()}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 6), min_size=2, max_size=5))
def test_nll_is_summed_over_keys_and_averaged_over_frames(seed, lengths):
    generator = np.random.default_rng(seed)
    logits = [generator.normal(0, 3, (n, 5)).astype(np.float32) for n in lengths]
    truth = [(generator.random((n, 5)) < 0.4).astype(np.float32) for n in lengths]
    truth[0][0, 0] = 1  # else accuracy may be 0 / 0

    def padded(rows, fill):
        return torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(r) for r in rows], batch_first=True, padding_value=fill
        )

    objective = objective_for(MUSIC)
    batches = [
        (padded(logits[:1], 7.0), padded(truth[:1], IGNORE)),
        (padded(logits[1:], 7.0), padded(truth[1:], IGNORE)),
    ]
    found = measured(objective, batches)
    flat, on = np.concatenate(logits).astype(np.float64), np.concatenate(truth)
    chance = 1 / (1 + np.exp(-flat))
    nats = -(on * np.log(chance) + (1 - on) * np.log(1 - chance)).sum(1)
    assert found["nll"] == pytest.approx(nats.mean(), rel=1e-4)
    expected = jaccard_score(on.ravel(), (flat > 0).ravel().astype(float))  # TP / (TP + FP + FN)
    assert found["frame_accuracy"] == pytest.approx(expected, rel=1e-5)
    losses = objective.loss(*batches[1])
    ends = np.cumsum(lengths)
    for i, end in enumerate(ends[1:]):
        assert float(losses[i]) == pytest.approx(nats[end - lengths[i + 1] : end].mean(), rel=1e-4)


def test_nll_of_constant_rates_equals_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(50, 20, 5, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])).float()
    rates = targets.mean((0, 1))
    entropy = -(rates * rates.log() + (1 - rates) * (1 - rates).log()).sum()
    found = measured(objective_for(MUSIC), [(torch.logit(rates).expand(50, 20, 5), targets)])
    assert found["nll"] == pytest.approx(float(entropy), rel=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_bits_per_character(seed):
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(3, n, 4, generator=generator) for n in (6, 2)]
    targets = [torch.randint(0, 4, (3, n), generator=generator) for n in (6, 2)]
    targets[0][0, :2] = IGNORE
    found = measured(objective_for(TEXT), list(zip(values, targets, strict=True)))
    truth = torch.cat([y.flatten() for y in targets])
    chance = torch.cat([v.double().softmax(-1).flatten(0, 1) for v in values])
    scored = truth != IGNORE
    nats = log_loss(truth[scored], chance[scored], labels=range(4))
    assert found["bpc"] == pytest.approx(nats / math.log(2), rel=1e-4)
    right = (chance.argmax(-1) == truth)[scored].float().mean()
    assert found["accuracy"] == pytest.approx(float(right))


def test_only_language_models_have_bits_per_character():
    copy = TaskSpec("next_step", "tokens", 4, 4, "accuracy", "max")
    assert set(objective_for(copy).metrics()) == {"accuracy"}


def test_a_sum_over_many_steps_is_exact():
    """A float32 sum of ones stops at 16,777,216."""
    ratio = objective_for(TEXT).metrics()["bpc"]
    values = torch.zeros(1, 4, 1000)
    ratio.update(values, torch.zeros(1, 1000, dtype=torch.int64))
    ratio.weights += 2.0**24
    ratio.amounts += 2 * 2.0**24
    ratio.update(values[..., :1], torch.zeros(1, 1, dtype=torch.int64))
    assert float(ratio.weights) == 2**24 + 1001
    assert float(ratio.compute()) == pytest.approx(2)
