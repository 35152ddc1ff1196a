"""Encoding of texts: tokens, vocabulary from train alone, pretrained vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compose
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.encoding.corpus import Corpus
from gatescope.data.encoding.text import LabelledTexts, TextEncoding
from gatescope.data.encoding.tokenizers import make_tokenizer
from gatescope.data.encoding.torchtext_compat import build_vocab_from_iterator, get_tokenizer
from gatescope.data.encoding.vectors import load_embeddings, read_vectors
from gatescope.data.errors import DataError
from gatescope.models.embedding import make_embedding
from gatescope.run import run
from gatescope.sequences import PADDING, UNKNOWN

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "é", "日本"]), max_size=6)
DOCUMENTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(DOCUMENTS, DOCUMENTS, st.integers(1, 3), st.sampled_from([None, 3, 5]), st.sampled_from([None, 2]))
def test_ids_are_those_of_torchtexts_own_vocabulary(train, test, min_freq, max_tokens, max_length) -> None:
    encoding = TextEncoding(max_tokens, min_freq, max_length)
    train_texts, test_texts = LabelledTexts(train, [0] * len(train)), LabelledTexts(test, [1] * len(test))
    splits = encoding.splits(train_texts, test_texts, test_texts, ("x", "y"), {})
    tokenize = get_tokenizer("basic_english")
    tokens = [[tokenize(text)[:max_length] for text in part] for part in (train, test)]
    oracle = build_vocab_from_iterator(
        tokens[0], min_freq=min_freq, specials=[PADDING, UNKNOWN], max_tokens=max_tokens
    )
    oracle.set_default_index(oracle[UNKNOWN])
    assert splits.task.vocabulary == tuple(oracle.get_itos())
    for examples, part in ((splits.train, tokens[0]), (splits.test, tokens[1])):
        assert [x.tolist() for x in examples.inputs] == [oracle(words or [UNKNOWN]) for words in part]
    assert splits.task.notes["texts_without_tokens"] == sum(not w for w in tokens[0]) + 2 * sum(
        not w for w in tokens[1]
    )


def test_rows_of_a_corpus_in_any_order() -> None:
    corpus = Corpus(make_tokenizer("basic_english")).extend(["one two", "", "two", "three one two"])
    ids, lengths, uncut, empty = corpus.subset(np.array([3, 1, 0]))
    assert [corpus.tokens[i] for i in ids] == ["three", "one", "two", UNKNOWN, "one", "two"]
    assert lengths.tolist() == [3, 1, 2]
    assert uncut.tolist() == [3, 0, 2]
    assert empty == 1


def test_specials_are_always_in_the_vocabulary() -> None:
    texts = LabelledTexts(["<url> a a", "b <pad>"], [0, 1])
    task = TextEncoding(specials=["<user>", "<url>"]).splits(texts, texts, texts, ("x", "y"), {}).task
    assert task.vocabulary == ("<pad>", "<unk>", "<user>", "<url>", "a", "b")
    assert TextEncoding(max_tokens=4, specials=["<user>"]).splits(
        texts, texts, texts, ("x", "y"), {}
    ).task.vocabulary == ("<pad>", "<unk>", "<user>", "a")


def test_split_keeps_case_and_punctuation() -> None:
    assert Corpus(make_tokenizer("split")).extend(["Good, DAY"]).tokens[1:] == ["Good,", "DAY"]
    assert Corpus(make_tokenizer("basic_english")).extend(["Good, DAY"]).tokens[1:] == ["good", ",", "day"]


def test_numbers_make_a_regression() -> None:
    corpus = TextEncoding().corpus().extend(["a", "b", "c"])
    splits = TextEncoding().encode(
        corpus, [np.array([i]) for i in (2, 0, 1)], torch.tensor([0.5, 1.5, 2.5]), (), {}, "regression"
    )
    assert (splits.task.kind, splits.task.metric, splits.task.output_size) == ("regression", "mse", 1)
    assert splits.train.targets.tolist() == [2.5]


GLOVE = "the 1 2 3\ncat 4 5 6\n. . . 7 8 9\ndog -1e-1 0 1\n"


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    return path


def test_vectors_equal_those_of_the_file(glove: Path) -> None:
    words = ("<pad>", "<unk>", "cat", "owl", "the")
    table, notes = load_embeddings(str(glove), words, np.array([0, 1, 6, 2, 1]), 0)
    assert table[2].tolist() == [4, 5, 6]
    assert table[4].tolist() == [1, 2, 3]
    assert table[0].tolist() == [0, 0, 0]
    assert table[3].abs().sum() > 0
    assert torch.equal(table, load_embeddings(str(glove), words, np.ones(5), 0)[0])
    assert notes == {"vectors": "glove.txt", "vectors_cover_words": 0.4, "vectors_cover_tokens": 0.7}


def test_words_with_spaces_and_the_header_of_word2vec(glove: Path) -> None:
    assert read_vectors(glove, [". . ."])[0].tolist() == [7, 8, 9]
    glove.write_text("4 3\n" + GLOVE)
    assert read_vectors(glove, ["the", "4"])[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2 3\ncat 4 5\n", "line 2: expected 3 numbers, found 2"),
        ("the 1 2 3\ncat 4 x 6\n", "line 2: could not convert string to float: 'x'"),
        ("the 1 nan 3\ncat 1 1 1\n", "line 1: NaN or infinity"),
        ("owl 1 2 3\n", "none of the words of train"),
        ("", "none of the words of train"),
        ("the\n", "line 1: expected some numbers, found 0"),
    ],
)
def test_invalid_vectors(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_vectors(path, ["the", "cat"])


@pytest.mark.parametrize("frozen", [True, False])
def test_a_model_starts_from_the_vectors(glove: Path, frozen: bool) -> None:
    texts = LabelledTexts(["the cat", "a cat"], [0, 1])
    task = TextEncoding(vectors=str(glove), frozen=frozen).splits(texts, texts, texts, ("x", "y"), {}).task
    embedding = make_embedding(task, 100)
    assert embedding.weight.shape == (5, 3)
    assert embedding.weight.requires_grad is not frozen
    assert embedding.weight[task.vocabulary.index("cat")].tolist() == [4, 5, 6]
    embedding.weight.data.add_(1)
    assert task.vectors is not None
    assert task.vectors[task.vocabulary.index("cat")].tolist() == [4, 5, 6]


@pytest.mark.parametrize("frozen", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_with_vectors_and_the_words_in_its_checkpoint(
    config: Compose, tmp_path: Path, frozen: bool
) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("the 1 0.5\nto -1 0.25\n")
    sizes = ("data.limit=100", "data.max_tokens=50", "model.hidden_size=4", "trainer.max_steps=2")
    given = (f"data.vectors={vectors}", f"data.frozen={str(frozen).lower()}")
    result = run(config("data=tweets", *sizes, *given, "tracking=off", "trainer.threads=1"))
    words = result.data.task.vocabulary
    learnt = result.module.model.embedding.weight[words.index("the")].tolist()
    assert (learnt == [1, 0.5]) is frozen
    checkpoint = torch.load(result.directory / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["symbols"]["vocabulary"] == list(words)
    assert checkpoint["symbols"]["labels"] == ["negative", "neutral", "positive"]
    assert '"vectors_cover_tokens": 0.' in (result.directory / "run.json").read_text()
