"""Watching changes no bit of training, and leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatescope


class Classifier(nn.Module):
    """Two recurrent modules with dropout, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.first = nn.LSTM(5, 6, num_layers=2, dropout=0.4, bidirectional=True, batch_first=True)
        self.second = nn.GRU(12, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.second(self.first(self.embedding(tokens))[0])
        return self.head(torch.relu_(states[:, -1]))  # in place, after what is recorded


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@torch.no_grad()
def step(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter -= 0.1 * parameter.grad  # type: ignore[operator]


def trained(watching: Any) -> tuple[list[Tensor], Tensor]:
    """Train for some steps; return the weights and the state of the random numbers."""
    torch.manual_seed(0)
    model = Classifier()
    for _ in range(4):
        tokens, labels = torch.randint(11, (7, 9)), torch.randint(3, (7,))
        with watching(model) as scope:
            model.zero_grad()
            nn.functional.cross_entropy(model(tokens), labels).backward()
            if scope is not None:
                scope.summary()
                scope["first"].state_gradients  # noqa: B018
            step(model)
        assert hooks(model) == 0
    return [p.detach().clone() for p in model.parameters()], torch.get_rng_state()


@contextmanager
def not_watching(model: nn.Module) -> Iterator[None]:
    with nullcontext():
        yield


def test_no_bit_of_training_changes() -> None:
    (plain, plain_random), (watched, watched_random) = trained(not_watching), trained(gatescope.watch)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert torch.equal(plain_random, watched_random)


def test_nothing_stays_after_an_exception() -> None:
    model = Classifier()
    scope = gatescope.watch(model)
    with pytest.raises(IndexError), scope:
        model(torch.tensor([[1, 2], [3, 99]]))
    assert hooks(model) == 0
    model(torch.tensor([[1, 2]])).sum().backward()
    assert not any(scope._recorders[name].calls for name in scope)


def test_a_recording_is_freed_with_its_scope() -> None:
    model = Classifier()
    with gatescope.watch(model) as scope:
        model(torch.randint(11, (2, 3))).sum().backward()
    call = weakref.ref(scope["second"].recorded[0])
    del scope
    gc.collect()
    assert call() is None


def test_a_later_step_takes_the_place_of_an_earlier_one_and_weights_are_those_of_the_pass() -> None:
    model = Classifier().double()
    tokens = torch.randint(11, (2, 3))
    with gatescope.watch(model) as scope:
        for _ in range(3):
            model.zero_grad()
            model(tokens).sum().backward()
            before = [p.detach().clone() for p in model.second.parameters()]
            step(model)  # changes the weights before anything is read
    assert len(scope["second"].recorded) == 1
    cell = scope["second"].layers.traces["layer0"].cell
    assert all(torch.equal(a, b) for a, b in zip(cell.weights, before, strict=True))
    assert scope["second"].states_error < 1e-12
