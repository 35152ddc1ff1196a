"""Attributions against autograd, captum, and words taken out one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.instruments import ablation, attribution
from gatescope.instruments.ablation import leave_one_out, leave_state_out, predict, subsequences
from gatescope.instruments.attribution import (
    completeness_error,
    explained_output,
    gradients,
    integrated_gradients,
    predict_embedded,
)
from gatescope.models.attention import Additive, Dot
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, TaskSpec, valid_mask

LENGTHS = torch.tensor([6, 3, 1, 5])


def text_task(classes: int) -> TaskSpec:
    outputs = 1 if classes == 2 else classes
    return TaskSpec("classification", "tokens", 12, outputs, "accuracy", "max", padding_index=0)


def text_model(cell=GRU, classes: int = 3, attention=Additive, **options) -> Encoder:
    torch.manual_seed(0)
    model = Encoder(text_task(classes), cell, attention, hidden_size=4, embedding_size=5, **options)
    return model.double().eval()


def text_batch() -> Batch:
    torch.manual_seed(1)
    inputs = torch.randint(1, 12, (4, 6)) * valid_mask(LENGTHS, 6)
    return Batch(inputs, LENGTHS, torch.zeros(4, dtype=torch.long), torch.arange(4))


MODELS = [
    {"cell": GRU, "attention": Additive},
    {"cell": LSTM, "attention": Dot, "layers": 2, "bidirectional": True, "classes": 2},
]


@pytest.mark.parametrize("options", MODELS)
def test_gradients_are_autograd_s(options) -> None:
    model, batch = text_model(**options), text_batch()
    embedded = model.embed(batch.inputs).detach()
    output = explained_output(model.task, model(batch).values)
    found = gradients(model, embedded, batch.lengths, output)
    leaf = embedded.clone().requires_grad_()
    states = model.stack(leaf, batch.lengths)
    states.retain_grad()
    value = output(model.readout(states, batch.lengths).values)
    value.sum().backward()
    valid = valid_mask(batch.lengths, 6)[..., None]
    torch.testing.assert_close(found.output, value.detach())
    torch.testing.assert_close(found.inputs * valid, leaf.grad * valid)
    torch.testing.assert_close(found.states * valid, states.grad * valid)
    assert not (found.inputs * ~valid).any()


@pytest.mark.parametrize("options", MODELS)
def test_integrated_gradients_are_captum_s_and_complete(options) -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed (the extra dev)")
    model, batch = text_model(**options), text_batch()
    embedded = model.embed(batch.inputs).detach()
    output = explained_output(model.task, model(batch).values)
    found = integrated_gradients(model, embedded, batch.lengths, output)

    def forward(given: Tensor) -> Tensor:
        # captum repeats each batch once a node.
        times = len(given) // len(embedded)
        values = predict_embedded(model, given, batch.lengths.repeat(times))
        return torch.cat([output(part) for part in values.split(len(embedded))])

    oracle = captum.IntegratedGradients(forward).attribute(embedded, n_steps=64, method="gausslegendre")
    torch.testing.assert_close(found, oracle.sum(-1), rtol=1e-8, atol=1e-9)
    assert completeness_error(model, embedded, batch.lengths, output, found).max() < 1e-8


def test_what_is_explained_is_the_predicted_class_s_log_probability() -> None:
    for classes in (2, 3):
        model, batch = text_model(classes=classes), text_batch()
        values = model(batch).values.detach()
        probability = attribution.distribution(model.task, values)
        assert probability.shape == (4, classes)
        torch.testing.assert_close(probability.sum(-1), torch.ones(4).double())
        torch.testing.assert_close(explained_output(model.task, values)(values), probability.amax(-1).log())


def test_a_regression_has_no_distribution() -> None:
    task = TaskSpec("regression", "features", 2, 1, "mse", "min")
    with pytest.raises(ValueError, match="no distribution over classes"):
        attribution.distribution(task, torch.zeros(3, 1))
    values = torch.tensor([[1.0], [3.0]])
    assert attribution.prediction_change(task, values, values.flip(0)).tolist() == [2.0, 2.0]
    assert explained_output(task, values)(values).tolist() == [1.0, 3.0]


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5))
@settings(deadline=None, max_examples=20)
def test_leaving_one_out_is_running_without_it(lengths: list[int]) -> None:
    model, n = text_model(), torch.tensor(lengths)
    inputs = torch.randint(1, 12, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(7))
    subset = torch.ones_like(inputs, dtype=torch.bool)
    found = leave_one_out(model, inputs, n, subset)
    for b, length in enumerate(lengths):
        for t in range(max(lengths)):
            if length == 1 or t >= length:
                assert found[b, t].isnan().all()
                continue
            rest = torch.cat([inputs[b, :t], inputs[b, t + 1 : length]])[None]
            expected = predict_embedded(model, model.embed(rest), torch.tensor([length - 1]))
            torch.testing.assert_close(found[b, t].double(), expected[0], rtol=1e-5, atol=1e-6)


def test_leaving_a_state_out_masks_its_score() -> None:
    model, batch = text_model(attention=Additive), text_batch()
    states = model.stack(model.embed(batch.inputs), batch.lengths)
    weights = model.readout(states, batch.lengths).attention
    found = leave_state_out(model, states, weights, batch.lengths)
    assert found[2].isnan().all(), "one step: nothing is left to look at"
    scores = weights[0, 0].log()
    for t in range(6):
        masked = scores.clone()
        masked[t] = -torch.inf
        expected = model.head(torch.softmax(masked, 0) @ states[0])
        torch.testing.assert_close(found[0, t], expected.detach())


def test_subsequences_keep_order_of_tokens_and_of_features() -> None:
    keep = torch.tensor([[True, False, True, True], [False, True, False, False]])
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    moved, lengths = subsequences(tokens, keep)
    assert moved[0].tolist() == [1, 3, 4]
    assert moved[1, :1].tolist() == [6]
    assert lengths.tolist() == [3, 1]
    features, _ = subsequences(torch.stack([tokens, -tokens], -1), keep)
    assert torch.equal(features, torch.stack([moved, -moved], -1))


def test_many_sequences_in_small_blocks_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = text_model(), text_batch()
    whole = predict(model, batch.inputs, batch.lengths)
    monkeypatch.setattr(ablation, "MAX_STEPS", 5)
    torch.testing.assert_close(predict(model, batch.inputs, batch.lengths), whole)
    torch.testing.assert_close(whole, model(batch).values)
