"""Comprehensiveness and sufficiency against predictions for each shortened text."""

from __future__ import annotations

import math

import pytest
import torch
from constructed_models import constructed_batch, constructed_model
from torch import Tensor

from gatescope.instruments.erasure import SHARES, erase, normalised, top


def test_erasure_equals_running_the_remaining_steps() -> None:
    model, batch = constructed_model(mixed=False), constructed_batch(examples=5)
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


def test_top_share_selects_at_least_one_step_and_never_all() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 9.0]])
    lengths = torch.tensor([3, 2])
    assert top(scores, lengths, 0.01).tolist() == [[False, True, False], [True, False, False]]
    assert top(scores, lengths, 0.5).tolist() == [[False, True, True], [True, False, False]]
    assert top(scores, lengths, 1.0).sum(1).tolist() == [2, 1]


def test_values_are_normalised_to_the_range_of_all_rankings() -> None:
    least, most = torch.zeros(2, 5), torch.full((2, 5), 0.4)
    values = {"a": least, "b": most, "c": torch.full((2, 5), 0.1)}
    assert normalised(values, "max") == pytest.approx({"a": 0.0, "b": 1.0, "c": 0.25})
    assert normalised(values, "min") == pytest.approx({"a": 1.0, "b": 0.0, "c": 0.75})
    assert normalised({"a": least, "b": least}, "max") == {}
