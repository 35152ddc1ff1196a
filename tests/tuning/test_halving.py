"""Which trials go on, and how their training is shortened."""

from __future__ import annotations

import pytest
from conftest import Compose
from hypothesis import given
from hypothesis import strategies as st

from gatescope.tuning.halving import kept, shares, shortened


@pytest.mark.parametrize(
    ("trials", "factor", "expected"),
    [(16, 3, [1 / 9, 1 / 3]), (9, 3, [1 / 9, 1 / 3]), (8, 2, [1 / 8, 1 / 4, 1 / 2]), (3, 4, [])],
)
def test_shares_of_the_length(trials: int, factor: int, expected: list[float]) -> None:
    assert shares(trials, factor) == pytest.approx(expected)


@given(st.lists(st.none() | st.floats(-5, 5), min_size=1, max_size=30), st.integers(2, 5))
def test_the_best_go_on(scores: list[float | None], factor: int) -> None:
    found = kept(dict(enumerate(scores)), factor)
    finite = sorted((score for score in scores if score is not None), reverse=True)
    count = min(len(finite), -(-len(scores) // factor))
    assert sorted((scores[number] or 0.0 for number in found), reverse=True) == finite[:count]


def test_the_length_is_shortened_where_it_is_given(config: Compose) -> None:
    assert shortened(config("trainer.max_steps=90"), 1 / 3) == ["trainer.max_steps=30"]
    assert shortened(config("trainer.max_epochs=4"), 1 / 9) == ["trainer.max_epochs=1"]
    length = "recipe.length={epochs: 15, min_steps: 100, max_steps: 1000}"
    assert shortened(config(length), 1 / 3) == [
        "recipe.length.epochs=5", "recipe.length.min_steps=34", "recipe.length.max_steps=333"
    ]  # fmt: skip
