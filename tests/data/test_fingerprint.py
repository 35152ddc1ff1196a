"""The fingerprint changes with the data, and not by rounding."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch

from gatescope.data.examples import Examples, Splits
from gatescope.data.fingerprint import differences, fingerprint
from gatescope.data.ragged import Ragged
from gatescope.sequences import TaskSpec

WORDS = TaskSpec(
    "classification", "tokens", 5, 1, "accuracy", "max", labels=("no", "yes"), vocabulary=tuple("abcde")
)
NUMBERS = TaskSpec("regression", "features", 3, 1, "mse", "min")


def texts() -> Splits:
    def part(seed: int) -> Examples:
        generator = torch.Generator().manual_seed(seed)
        sequences = [torch.randint(5, (length,), generator=generator) for length in (3, 1, 4, 2)]
        return Examples(sequences, torch.tensor([0, 1, 1, 0]))

    return Splits(part(0), part(1), part(2), dataclasses.replace(WORDS, vectors=torch.ones(5, 2)))


def series() -> Splits:
    def part(seed: int) -> Examples:
        generator = torch.Generator().manual_seed(seed)
        values = [torch.randn(500 + i, 3, generator=generator) for i in range(40)]
        return Examples(values, torch.randn(40, 1, generator=generator))

    return Splits(part(0), part(1), part(2), NUMBERS)


def changed(make: Callable[[], Splits], change: Callable[[Splits], object]) -> list[str]:
    """Return the differences after a change of the data."""
    splits = make()
    then = json.loads(json.dumps(fingerprint(splits)))
    change(splits)
    return differences(then, fingerprint(splits))


def flat(splits: Splits, name: str = "train") -> torch.Tensor:
    inputs = getattr(splits, name).inputs
    assert isinstance(inputs, Ragged)
    return inputs.flat


def replace_task(splits: Splits, **fields: object) -> None:
    splits.task = dataclasses.replace(splits.task, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [texts, series])
def test_the_same_data_have_no_differences(make: Callable[[], Splits]) -> None:
    assert changed(make, lambda splits: None) == []
    assert differences(fingerprint(make()), fingerprint(make())) == []


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda s: flat(s, "test").__setitem__(0, (flat(s, "test")[0] + 1) % 5), "test split: other inputs"),
        (lambda s: s.validation.targets.__setitem__(0, 1), "validation split: other targets"),
        (
            lambda s: setattr(s, "train", Examples(s.train.inputs[:3], s.train.targets[:3])),
            "train split: 4 examples then, 3 now",
        ),
        (
            lambda s: setattr(
                s, "train", Examples(Ragged.from_flat(flat(s), s.train.lengths[::-1]), s.train.targets)
            ),
            "train split: other inputs",
        ),
        (lambda s: replace_task(s, vocabulary=tuple("abcdef")), "vocabulary: 5 entries then, 6 now"),
        (lambda s: replace_task(s, vocabulary=tuple("acbde")), "vocabulary: other entries"),
        (lambda s: replace_task(s, labels=("yes", "no")), "labels: other entries"),
        (lambda s: replace_task(s, target_vocabulary=("x",)), "target vocabulary: 0 entries then, 1 now"),
        (lambda s: s.task.vectors.__setitem__((0, 0), 2.0), "other pretrained vectors"),
        (lambda s: replace_task(s, vectors=None), "other pretrained vectors"),
    ],
)
def test_changes_of_texts_are_named(change: Callable[[Splits], object], phrase: str) -> None:
    assert changed(texts, change) == [phrase]


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda s: flat(s)[1234].add_(0.1), ["train split: other inputs"]),
        (lambda s: flat(s).__setitem__(slice(0, 2), flat(s)[[1, 0]]), ["train split: other inputs"]),
        (lambda s: s.test.targets.copy_(s.test.targets.flip(0)), ["test split: other targets"]),
        (lambda s: flat(s).mul_(1 + 2e-7 * torch.randn_like(flat(s))), []),  # rounding
    ],
)
def test_real_values_differ_beyond_rounding(change: Callable[[Splits], object], phrase: list[str]) -> None:
    assert changed(series, change) == phrase
