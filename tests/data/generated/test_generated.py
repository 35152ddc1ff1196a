"""Generated tasks: an oracle solves each, splits are disjoint, and depend on (config, seed) alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.errors import DataError
from gatescope.data.generated.adding import Adding
from gatescope.data.generated.copy import Copy
from gatescope.data.generated.delayed_recall import DelayedRecall
from gatescope.data.generated.parity import Parity
from gatescope.sequences import IGNORE

SIZES = {"train": 300, "validation": 50, "test": 60}
lags = st.integers(10, 40)
seeds = st.integers(0, 1000)
few = settings(deadline=None, max_examples=10)


def everything(data):
    data.setup()
    for name, size in SIZES.items():
        batch = data.batch(name, range(len(getattr(data.splits, name))))
        assert len(batch.ids) == size
        yield batch


def add_what_is_marked(inputs):
    return (inputs[..., 0] * inputs[..., 1]).sum(dim=1)


def repeat_what_came_before_the_delimiter(inputs):
    return inputs[:, :10]


def flip_at_every_one(inputs):
    state = torch.zeros(len(inputs), dtype=torch.int64)
    for t in range(inputs.shape[1]):
        state ^= inputs[:, t]
    return state


@few
@given(lags, seeds)
def test_adding(steps, seed):
    for batch in everything(Adding(steps=steps, seed=seed, **SIZES)):
        assert batch.inputs.shape[1:] == (steps, 2)
        torch.testing.assert_close(add_what_is_marked(batch.inputs), batch.targets)
        markers = batch.inputs[..., 1]
        assert ((markers == 0) | (markers == 1)).all()
        half = steps // 2
        assert (markers[:, :half].sum(1) == 1).all()
        assert (markers[:, half:].sum(1) == 1).all()
        assert ((batch.inputs[..., 0] >= 0) & (batch.inputs[..., 0] < 1)).all()


def test_adding_costs_its_chance_when_the_mean_is_answered():
    data = Adding(steps=10, train=40_000)
    data.setup()
    assert float(((data.splits.train.targets - 1) ** 2).mean()) == pytest.approx(
        data.task.notes["chance"], rel=0.03
    )
    assert data.task.tolerance == 0.04


@few
@given(st.integers(1, 30), seeds)
def test_copy(lag, seed):
    for batch in everything(Copy(lag=lag, seed=seed, **SIZES)):
        assert batch.inputs.shape[1] == lag + 20
        assert (batch.targets[:, :-10] == IGNORE).all()
        assert torch.equal(batch.targets[:, -10:], repeat_what_came_before_the_delimiter(batch.inputs))
        assert ((batch.inputs[:, :10] >= 1) & (batch.inputs[:, :10] <= 8)).all()
        delimiter = (batch.inputs == 9).nonzero()
        assert delimiter[:, 1].unique().tolist() == [lag + 9]
        assert (batch.inputs[:, 10:] == 0).sum().item() == len(batch.inputs) * (lag + 9)


def test_copy_scored_everywhere_costs_the_published_chance_without_memory():
    data = Copy(lag=30, scored="all", **SIZES)
    data.setup()
    targets = data.batch("train", range(SIZES["train"])).targets
    probability = torch.zeros(50, 9)
    probability[:40, 0] = 1
    probability[40:, 1:] = 1 / 8
    at_target = probability.log()[torch.arange(50).expand_as(targets), targets]
    assert -at_target.mean().item() == pytest.approx(10 * math.log(8) / 50, rel=1e-5)
    assert data.task.notes["chance"] == pytest.approx(10 * math.log(8) / 50)
    assert (data.task.metric, data.task.direction) == ("loss", "min")


@few
@given(lags, seeds, st.integers(2, 9))
def test_delayed_recall(lag, seed, symbols):
    data = DelayedRecall(lag=lag, symbols=symbols, seed=seed, **SIZES)
    for batch in everything(data):
        assert batch.inputs.shape[1] == lag + 1
        assert torch.equal(batch.inputs[:, 0], batch.targets)
        assert (batch.inputs[:, 1:] >= symbols).all()
        assert set(batch.targets.tolist()) <= set(range(symbols))
    assert data.task.output_size == (1 if symbols == 2 else symbols)
    assert data.tokens(batch)[0][0] == data.task.labels[batch.targets[0]]


@few
@given(lags, seeds)
def test_parity(lag, seed):
    data = Parity(lag=lag, seed=seed, **SIZES)
    for batch in everything(data):
        assert batch.inputs.shape[1] == lag
        assert torch.equal(flip_at_every_one(batch.inputs), batch.targets)
    assert data.task.output_size == 1


def test_labels_are_balanced():
    for data in (Parity(), DelayedRecall()):
        data.setup()
        share = np.bincount(data.splits.train.targets.numpy()) / len(data.splits.train)
        np.testing.assert_allclose(share, data.task.notes["chance"], atol=0.02)


TASKS = [
    lambda **k: Adding(steps=10, **k),
    lambda **k: Copy(lag=5, **k),
    lambda **k: DelayedRecall(lag=3, **k),
    lambda **k: Parity(lag=10, **k),
]


@pytest.mark.parametrize("make", TASKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_share_no_sequence(make, seed):
    data = make(seed=seed)
    data.setup()
    train, validation, test = (
        {x.numpy().tobytes() for x in split.inputs}
        for split in (data.splits.train, data.splits.validation, data.splits.test)
    )
    assert not train & validation
    assert not train & test
    assert not validation & test


@pytest.mark.parametrize("make", TASKS)
def test_config_and_seed_decide_the_data(make):
    flat = []
    for seed in (3, 3, 4):
        data = make(seed=seed, **SIZES)
        data.setup()
        flat.append(data.splits.train.inputs.flat)
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])


def test_a_larger_train_split_leaves_the_others_as_they_were():
    small, large = Parity(train=100), Parity(train=5000)
    for data in (small, large):
        data.setup()
    assert torch.equal(small.splits.test.inputs.flat, large.splits.test.inputs.flat)


def test_too_short_for_three_splits():
    def build_each():
        for seed in range(30):
            Parity(lag=4, seed=seed, **SIZES).setup()

    with pytest.raises(DataError, match="increase the lag"):
        build_each()
