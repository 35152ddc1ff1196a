import subprocess
import sys

import pytest
import torch

from gatescope.data.japanese_vowels import JapaneseVowels


@pytest.fixture(scope="module")
def data():
    datamodule = JapaneseVowels()
    datamodule.setup()
    return datamodule


def test_sizes_are_the_published_ones(data):
    splits = data.splits
    assert len(splits.train) + len(splits.validation) == 270
    assert len(splits.test) == 370
    assert splits.train.lengths.min() >= 7
    assert max(split.lengths.max() for split in (splits.train, splits.validation, splits.test)) == 29
    assert (data.task.input_size, data.task.output_size) == (12, 9)


def test_every_speaker_is_in_every_split_and_evenly_in_validation(data):
    assert torch.bincount(data.splits.validation.targets).tolist() == [6] * 9
    assert torch.bincount(data.splits.train.targets).tolist() == [24] * 9
    assert set(data.splits.test.targets.tolist()) == set(range(9))


def test_features_are_standardised_by_train_alone(data):
    seen = data.splits.train.inputs.flat
    torch.testing.assert_close(seen.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0), torch.ones(12), atol=1e-4, rtol=0)
    assert (data.splits.test.inputs.flat.mean(0).abs() > 1e-3).any()


def test_seed_moves_the_validation_split_and_leaves_test(data):
    other = JapaneseVowels(seed=1)
    other.setup()
    assert other.splits.validation.lengths.tolist() != data.splits.validation.lengths.tolist()
    assert other.splits.test.lengths.tolist() == data.splits.test.lengths.tolist()


def test_no_words_for_features(data):
    batch = data.batch("test", [0, 1])
    assert batch.inputs.dtype == torch.float32
    assert data.tokens(batch) is None


def test_sktime_is_imported_when_read_and_not_before():
    code = "import sys; import gatescope.data.japanese_vowels; sys.exit('sktime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
