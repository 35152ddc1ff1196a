"""Digits as sequences, and MNIST-1D."""

import importlib.metadata
import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gatescope.data.errors import DataError
from gatescope.data.shipped.digits import Digits
from gatescope.data.shipped.mnist1d import Mnist1d, _generate


def made(datamodule):
    datamodule.setup()
    return datamodule


def images_of(data):
    """(1797, 64), sorted, whatever a step is."""
    parts = [getattr(data.splits, name) for name in ("train", "validation", "test")]
    flat = torch.cat([torch.stack(list(part.inputs)).reshape(len(part), 64) for part in parts])
    return np.sort((flat * 16).numpy(), axis=0)


def test_every_image_is_in_one_split():
    images = np.sort(load_digits().data, axis=0)
    for by, shape in {"pixel": (64, 1), "row": (8, 8)}.items():
        data = made(Digits(by=by))
        assert data.splits.test.inputs[0].shape == shape
        np.testing.assert_array_equal(images_of(data), images)


def test_rows_are_the_pixels_in_order_and_one_permutation_is_used():
    pixels, rows, moved = made(Digits()), made(Digits(by="row")), made(Digits(permuted=True))
    torch.testing.assert_close(pixels.splits.test.inputs[5].reshape(8, 8), rows.splits.test.inputs[5])
    before = torch.stack([pixels.splits.test.inputs[i].flatten() for i in range(200)])
    after = torch.stack([moved.splits.test.inputs[i].flatten() for i in range(200)])
    order = np.random.default_rng(0).permutation(64)
    assert not torch.equal(before, after)
    torch.testing.assert_close(before[:, order], after)
    assert pixels.splits.test.targets.tolist() == moved.splits.test.targets.tolist()


def test_digits_are_stratified():
    splits = made(Digits()).splits
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1257, 180, 360)
    counts = torch.bincount(splits.test.targets)
    assert counts.min() >= 34
    assert counts.max() <= 38


@pytest.fixture(scope="module")
def mnist1d(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATESCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("gatescope.data.shipped.mnist1d._generate", generated := Counted(_generate))
        first, again = made(Mnist1d()), made(Mnist1d(seed=1))
        assert generated.calls == 1
        return first, again


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def test_mnist1d_has_the_published_sizes_and_its_own_test_split(mnist1d):
    first, again = mnist1d
    assert [len(getattr(first.splits, n)) for n in ("train", "validation", "test")] == [3600, 400, 1000]
    assert first.splits.train.inputs[0].shape == (40, 1)
    assert torch.equal(first.splits.test.inputs.flat, again.splits.test.inputs.flat)
    assert not torch.equal(first.splits.validation.inputs.flat, again.splits.validation.inputs.flat)
    # The package centres and scales the set as a whole.
    values = torch.cat([getattr(first.splits, n).inputs.flat for n in ("train", "validation", "test")])
    assert abs(values.mean()) < 1e-5
    assert values.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_generating_restores_the_random_generators():
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    _generate(shuffled=True)
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_missing_mnist1d_names_the_extra(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(DataError, match=r"mnist1d.*not installed: pip install 'gatescope\[images\]'"):
        Mnist1d().setup()
