"""Attention against loops over the papers' equations, and independence of padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatescope.models.attention import (
    Additive,
    Attention,
    Dot,
    FrozenRandom,
    General,
    Pooling,
    ScaledDot,
    Uniform,
    last_state,
)

KINDS = [Additive, Dot, General, ScaledDot, Uniform, FrozenRandom]
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def make(kind: type[Attention], size: int = 6, heads: int = 1, bidirectional: bool = False) -> Attention:
    torch.manual_seed(0)
    return kind(size, bidirectional, heads)


def states_for(lengths: list[int], size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return torch.randn(len(lengths), max(lengths), size, generator=generator), torch.tensor(lengths)


@pytest.mark.parametrize("kind", KINDS)
@given(lengths=LENGTHS, heads=st.sampled_from([1, 2, 3]))
@settings(deadline=None, max_examples=25)
def test_weights_are_a_distribution_over_valid_steps(
    kind: type[Attention], lengths: list[int], heads: int
) -> None:
    states, n = states_for(lengths)
    readout = make(kind, heads=heads)(states, n)
    assert readout.weights is not None
    for row, length in zip(readout.weights, lengths, strict=True):
        assert (row[:, length:] == 0).all()
        assert torch.allclose(row.sum(-1), torch.ones(heads))
    assert torch.isfinite(readout.context).all()


@pytest.mark.parametrize("kind", KINDS)
@given(lengths=LENGTHS)
@settings(deadline=None, max_examples=15)
def test_padding_changes_nothing(kind: type[Attention], lengths: list[int]) -> None:
    states, n = states_for(lengths)
    attention = make(kind)
    wild = states.clone()
    for row, length in enumerate(lengths):
        wild[row, length:] = 1e3
    assert torch.equal(attention(states, n).context, attention(wild, n).context)


def test_dot_is_luong_dot_with_the_last_state_as_query() -> None:
    states, n = states_for([5, 3])
    readout = make(Dot)(states, n)
    assert readout.weights is not None
    for b, length in enumerate([5, 3]):
        scores = np.array([float(states[b, length - 1] @ states[b, t]) for t in range(length)])
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        np.testing.assert_allclose(readout.weights[b, 0, :length].numpy(), weights, rtol=1e-5)
        context = weights @ states[b, :length].numpy()
        np.testing.assert_allclose(readout.context[b].numpy(), context, rtol=1e-4, atol=1e-6)


def test_additive_is_bahdanau_with_the_last_state_as_query() -> None:
    states, n = states_for([4, 2])
    attention = make(Additive)
    assert isinstance(attention, Additive)
    readout = attention(states, n)
    assert readout.weights is not None
    w, u, v = attention.key[0].T, attention.query[0].T, attention.v[0]
    for b, length in enumerate([4, 2]):
        scores = [
            v @ torch.tanh(w @ states[b, t] + u @ states[b, length - 1] + attention.bias[0])
            for t in range(length)
        ]
        expected = torch.softmax(torch.stack(scores), 0)
        assert torch.allclose(readout.weights[b, 0, :length], expected, atol=1e-6)


def expected_weights(scores: list[Tensor]) -> Tensor:
    return torch.softmax(torch.stack(scores), 0)


def test_general_is_luong_general_with_the_last_state_as_query() -> None:
    states, n = states_for([5, 3])
    attention = make(General)
    assert isinstance(attention, General)
    readout = attention(states, n)
    assert readout.weights is not None
    for b, length in enumerate([5, 3]):
        query = states[b, length - 1] @ attention.weight[0]
        expected = expected_weights([query @ states[b, t] for t in range(length)])
        assert torch.allclose(readout.weights[b, 0, :length], expected, atol=1e-6)


def test_scaled_dot_has_one_query_for_all_sequences() -> None:
    states, n = states_for([5, 3])
    attention = make(ScaledDot, heads=2)
    assert isinstance(attention, ScaledDot)
    readout = attention(states, n)
    assert readout.weights is not None
    for b, length in enumerate([5, 3]):
        for head, part in enumerate((slice(0, 3), slice(3, 6))):
            scores = [attention.query[head] @ states[b, t, part] / 3**0.5 for t in range(length)]
            assert torch.allclose(readout.weights[b, head, :length], expected_weights(scores), atol=1e-6)


def test_uniform_is_the_mean_of_the_states() -> None:
    states, n = states_for([5, 3])
    mean = Pooling(6, False, "mean")(states, n).context
    assert torch.allclose(make(Uniform)(states, n).context, mean, atol=1e-6)


def test_frozen_random_weights_depend_on_neither_states_nor_training() -> None:
    states, n = states_for([5, 3])
    attention = make(FrozenRandom)
    readout, other = attention(states, n), attention(states.neg().exp(), n)
    assert readout.weights is not None
    assert other.weights is not None
    assert torch.equal(readout.weights, other.weights)
    assert not list(attention.parameters())
    assert torch.equal(attention.state_dict()["scores"], make(FrozenRandom).scores), "the seed's own"
    torch.manual_seed(1)
    assert not torch.equal(FrozenRandom(6, False).scores, attention.scores)


def test_frozen_random_has_the_documented_effective_length() -> None:
    torch.manual_seed(0)
    weights = FrozenRandom(4, False, period=200_000)(
        torch.zeros(1, 200_000, 4), torch.tensor([200_000])
    ).weights
    assert weights is not None
    length = torch.special.entr(weights).sum().exp().item()
    assert length / 200_000 == pytest.approx(np.exp(-(1.5**2) / 2), rel=0.1)


def test_frozen_random_beyond_its_period() -> None:
    weights = FrozenRandom(4, False, period=3)(torch.zeros(1, 7, 4), torch.tensor([7])).weights
    assert weights is not None
    assert torch.equal(weights[0, 0, :3], weights[0, 0, 3:6])


def test_heads_must_divide_the_states() -> None:
    with pytest.raises(ValueError, match=r"attention\.heads=4 does not divide .* 6"):
        Dot(6, False, 4)


@pytest.mark.parametrize("reduce", ["last", "mean", "max"])
def test_pooling_against_a_loop(reduce: str) -> None:
    states, n = states_for([4, 1, 3])
    pooled = Pooling(6, False, reduce)(states, n).context  # type: ignore[arg-type]
    take = {"last": lambda s: s[-1], "mean": lambda s: s.mean(0), "max": lambda s: s.amax(0)}[reduce]
    for b, length in enumerate(n.tolist()):
        assert torch.allclose(pooled[b], take(states[b, :length]), atol=1e-6)


def test_last_state_of_two_directions() -> None:
    states, n = states_for([4, 2])
    last = last_state(states, n, bidirectional=True)
    assert torch.equal(last[1], torch.cat([states[1, 1, :3], states[1, 0, 3:]]))
