"""The encoder on tasks of each kind."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.cells.gru import GRU
from gatescope.models.attention import Additive, Pooling
from gatescope.models.encoder import Encoder, sizes
from gatescope.sequences import Batch, TaskSpec

TOKENS = TaskSpec("classification", "tokens", 11, 3, "accuracy", "max", padding_index=0)
STEPS = TaskSpec("next_step", "features", 2, 5, "accuracy", "max")


@given(lengths=st.lists(st.integers(1, 7), min_size=2, max_size=5), bidirectional=st.booleans())
@settings(deadline=None, max_examples=15)
def test_predictions_do_not_depend_on_the_batch(lengths: list[int], bidirectional: bool) -> None:
    torch.manual_seed(0)
    model = Encoder(TOKENS, GRU, Additive, 6, layers=2, bidirectional=bidirectional, embedding_size=4).eval()
    n, ids = torch.tensor(lengths), torch.arange(len(lengths))
    tokens = torch.randint(1, 11, (len(lengths), max(lengths)))
    tokens[torch.arange(max(lengths)) >= n[:, None]] = 0
    together = model(Batch(tokens, n, ids, ids)).values
    for b, length in enumerate(lengths):
        alone = model(Batch(tokens[b : b + 1, :length], n[b : b + 1], ids[:1], ids[:1])).values
        assert torch.allclose(together[b], alone[0], atol=1e-5)


def test_next_step_predicts_at_every_step() -> None:
    model = Encoder(STEPS, GRU, Pooling, 6)
    batch = Batch(torch.randn(3, 4, 2), torch.tensor([4, 2, 1]), torch.zeros(3, 4), torch.arange(3))
    assert model(batch).values.shape == (3, 4, 5)


def test_next_step_with_attention_is_an_error() -> None:
    with pytest.raises(ValueError, match="attention gives one prediction a sequence"):
        Encoder(STEPS, GRU, partial(Additive, heads=2), 6)


def test_sizes() -> None:
    model = Encoder(TOKENS, GRU, Pooling, 6, embedding_size=4)
    stack = 3 * (6 * 6 + 6 * 4 + 12)
    assert sizes(model) == {
        "total": 44 + stack + 3 * 6 + 3,
        "between": stack,
        "stack": stack,
        "hidden_size": 6,
    }
    attentive = sizes(Encoder(TOKENS, GRU, Additive, 6, embedding_size=4))
    assert attentive["between"] == stack + 2 * 6 * 6 + 2 * 6 == attentive["total"] - 44 - 3 * 6 - 3
