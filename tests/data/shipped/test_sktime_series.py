import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import first_few

from gatescope.data.encoding.series import fold
from gatescope.data.shipped.sktime_series import SktimeSeries, read_sktime


def made(dataset, **settings):
    datamodule = SktimeSeries(dataset, **settings)
    datamodule.setup()
    return datamodule


@pytest.fixture(scope="module")
def data():
    return made("japanese_vowels")


PUBLISHED = {  # train, test, features, classes (one output for two), shortest and longest
    "japanese_vowels": (270, 370, 12, 9, 7, 29),
    "basic_motions": (40, 40, 6, 4, 100, 100),
    "gunpoint": (50, 150, 1, 1, 150, 150),
    "arrow_head": (36, 175, 1, 3, 251, 251),
    "osuleaf": (200, 242, 1, 6, 427, 427),
    "acsf1": (100, 100, 1, 10, 1460, 1460),
    "plaid": (537, 537, 1, 11, 100, 1344),
    "italy_power_demand": (67, 1029, 1, 1, 24, 24),
}


@pytest.mark.parametrize("dataset", first_few(PUBLISHED, 3))
def test_sizes_are_the_published_ones(dataset):
    found = made(dataset)
    parts = [found.splits.train, found.splits.validation, found.splits.test]
    lengths = np.concatenate([part.lengths for part in parts])
    assert (
        len(parts[0]) + len(parts[1]),
        len(parts[2]),
        found.task.input_size,
        found.task.output_size,
        lengths.min(),
        lengths.max(),
    ) == PUBLISHED[dataset]
    for part in parts:
        assert set(part.targets.tolist()) == set(range(len(found.task.labels)))


def test_every_speaker_is_evenly_in_validation(data):
    assert torch.bincount(data.splits.validation.targets).tolist() == [6] * 9
    assert torch.bincount(data.splits.train.targets).tolist() == [24] * 9


def test_features_are_standardised_by_train_alone(data):
    seen = data.splits.train.inputs.flat
    torch.testing.assert_close(seen.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0), torch.ones(12), atol=1e-4, rtol=0)
    assert (data.splits.test.inputs.flat.mean(0).abs() > 1e-3).any()


def test_the_seed_changes_the_validation_split_and_not_the_test_split(data):
    other = made("japanese_vowels", seed=1)
    assert other.splits.validation.lengths.tolist() != data.splits.validation.lengths.tolist()
    assert other.splits.test.lengths.tolist() == data.splits.test.lengths.tolist()


def test_test_series_have_the_order_and_labels_of_the_source(data):
    series, classes = read_sktime("japanese_vowels", "test")
    assert [len(x) for x in series] == data.splits.test.lengths.tolist()
    assert [data.task.labels[i] for i in data.splits.test.targets] == list(classes)


def test_folding_keeps_every_step():
    x = torch.arange(10.0).reshape(5, 2)
    assert fold(x, 2).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]
    assert fold(x, 1) is not x
    torch.testing.assert_close(fold(x, 1), x)
    whole, short = made("gunpoint"), made("gunpoint", fold=7)
    assert short.task.input_size == 7
    torch.testing.assert_close(
        short.splits.test.inputs[3].flatten()[:150], whole.splits.test.inputs[3].flatten()
    )


def test_features_have_no_tokens(data):
    batch = data.batch("test", [0, 1])
    assert batch.inputs.dtype == torch.float32
    assert data.tokens(batch) is None


@pytest.mark.slow
def test_sktime_is_imported_when_read_and_not_before():
    code = "import sys; import gatescope.data.shipped.sktime_series; sys.exit('sktime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
