"""The invented language: an independent reader of the translations, and the alignment."""

from __future__ import annotations

import pytest
import torch

from gatescope.data.errors import DataError
from gatescope.data.generated.invented_language import (
    ADJECTIVES,
    ADVERBS,
    ALONE,
    ENDINGS,
    NOUNS,
    PREPOSITIONS,
    VERBS,
    InventedLanguage,
)

GENDERS = dict(NOUNS.values())
STEMS = {stem: english for english, stem in {**VERBS, **ALONE}.items()}


@pytest.fixture(scope="module")
def data() -> InventedLanguage:
    datamodule = InventedLanguage(train=300, validation=50, test=50)
    datamodule.setup()
    return datamodule


def split_verb(word: str) -> tuple[str, bool]:
    """Return the stem and whether it is plural; KeyError for what is no verb."""
    plural = word.endswith("nt")
    stem = word.removesuffix("nt") if plural else word.removesuffix("t")
    return STEMS[stem], plural


def read_phrase(words: list[str]) -> bool:
    """Take a noun phrase from the front of the words; return whether it is plural."""
    article, noun = words.pop(0), words.pop(0)
    plural = noun not in GENDERS
    ending = ENDINGS[GENDERS[noun.removesuffix("s") if plural else noun]][plural]
    assert article in ("l" + ending, "un" + ending)
    adjectives = {stem + ending for stem in ADJECTIVES.values()}
    all_forms = {stem + e for stem in ADJECTIVES.values() for pair in ENDINGS.values() for e in pair}
    if words and words[0] in all_forms:
        assert words.pop(0) in adjectives
    if words and words[0] == "ke":
        words.pop(0)
        read_phrase(words)
        assert split_verb(words.pop(0))[1] == plural
    return plural


def test_each_translation_agrees_and_has_its_order(data: InventedLanguage) -> None:
    for translation in data.translations["train"]:
        words = [word.text for word in translation]
        if words[0] in ADVERBS.values():
            words.pop(0)
        plural = read_phrase(words)
        verb, verb_plural = split_verb(words.pop())
        assert verb_plural == plural
        places = 0
        while words:
            read_phrase(words)
            if words and words[0] in PREPOSITIONS.values():
                words.pop(0)
                places += 1
            else:
                assert verb in VERBS, "only these have an object"
        assert places <= 1


def test_each_word_is_aligned_with_the_word_it_translates(data: InventedLanguage) -> None:
    batch = data.batch("test", range(50))
    known = data.alignment("test", batch)
    tokens = data.tokens(batch)
    assert tokens is not None
    for row, words in enumerate(tokens):
        assert known[row].sum(0)[: len(words)].tolist() == [1] * len(words)  # each source word once
        for u, word in enumerate(data.translations["test"][row]):
            (t,) = torch.nonzero(known[row, u])[:, 0].tolist()
            if words[t] in ADVERBS:
                assert (u, word.text) == (0, ADVERBS[words[t]])
            if words[t] in ADJECTIVES:
                assert word.text.startswith(ADJECTIVES[words[t]])
            if words[t] in NOUNS:
                assert word.text == NOUNS[words[t]][0]


def test_no_sentence_is_in_two_splits(data: InventedLanguage) -> None:
    splits = [
        {tuple(data.tokens(data.batch(name, range(size)))[i]) for i in range(size)}  # type: ignore[index, arg-type]
        for name, size in data.sizes.items()
    ]
    assert [len(one) for one in splits] == [300, 50, 50]
    assert not splits[0] & splits[1] | splits[0] & splits[2] | splits[1] & splits[2]


def test_more_sentences_than_there_are_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatescope.data.generated.invented_language.SHARES", dict.fromkeys(
        ("adjective", "clause", "place", "adverb", "object"), 0.0))  # fmt: skip
    with pytest.raises(DataError, match=r"data\.train: 5000 different sentences are more than"):
        InventedLanguage(train=4000, validation=500, test=500).setup()
