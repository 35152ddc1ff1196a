"""Predictions without a step or a state, against running the model on the shortened input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_models import text_batch, text_model

from gatescope.instruments import ablation
from gatescope.instruments.ablation import leave_one_out, leave_state_out, predict, subsequences
from gatescope.instruments.attribution import (
    predict_embedded,
)
from gatescope.models.attention import Additive


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5))
@settings(deadline=None, max_examples=20)
def test_leave_one_out_equals_running_the_shortened_sequence(lengths: list[int]) -> None:
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


def test_leave_state_out_equals_masking_its_score() -> None:
    model, batch = text_model(attention=Additive), text_batch()
    states = model.stack(model.embed(batch.inputs), batch.lengths)
    weights = model.readout(states, batch.lengths).attention
    found = leave_state_out(model, states, weights, batch.lengths)
    assert found[2].isnan().all(), "one step: no other state has weight"
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


def test_predictions_in_small_batches_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = text_model(), text_batch()
    whole = predict(model, batch.inputs, batch.lengths)
    monkeypatch.setattr(ablation, "MAX_STEPS", 5)
    torch.testing.assert_close(predict(model, batch.inputs, batch.lengths), whole)
    torch.testing.assert_close(whole, model(batch).values)
