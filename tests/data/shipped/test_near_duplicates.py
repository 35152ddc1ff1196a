"""Near-duplicates equal those of comparing every pair of texts."""

from __future__ import annotations

import numpy as np
import pytest

from gatescope.data.shipped.near_duplicates import (
    character_shingles,
    near_duplicate_groups,
    similar_pairs,
    word_shingles,
)

TWEET = "draw a conclusion then search for stats that support that conclusion"


def cut_and_changed(count: int) -> list[str]:
    """Texts of random words, each with one that is cut in mid-word and one with a word exchanged."""
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list("abcdefgh"), size)) for size in generator.integers(2, 8, 60)]
    texts = []
    for _ in range(count):
        chosen = generator.choice(words, generator.integers(2, 12)).tolist()
        text = " ".join(chosen)
        chosen[generator.integers(len(chosen))] = str(generator.choice(words))
        texts += [text, text[: int(len(text) * generator.uniform(0.5, 1))].strip(), " ".join(chosen)]
    return texts


def jaccard(one: set[object], other: set[object]) -> float:
    return len(one & other) / len(one | other)


def sets(texts: list[str], by: str) -> list[set[object]]:
    split = [list(text) if by == "characters" else text.split() for text in texts]
    return [{tuple(x[i : i + 3]) for i in range(max(1, len(x) - 2))} for x in split]


@pytest.mark.parametrize("above", [0.7, 0.9])
@pytest.mark.parametrize("by", ["characters", "words"])
def test_pairs_equal_those_of_exhaustive_comparison(by: str, above: float) -> None:
    texts = cut_and_changed(80)
    shingles = sets(texts, by)
    expected = {
        (i, j)
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if jaccard(shingles[i], shingles[j]) > above
    }
    shingles_of = {"characters": character_shingles, "words": word_shingles}[by]
    first, second = similar_pairs(shingles_of(texts), above)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert expected


def test_groups() -> None:
    texts = [TWEET, "ok", TWEET[:-6], "an other text altogether", TWEET + " so", "ok", "", "no", ""]
    groups = near_duplicate_groups(texts).tolist()
    assert groups[0] == groups[2] == groups[4]
    assert groups[1] == groups[5]
    assert groups[6] == groups[8]
    assert len(set(groups)) == 5


def test_near_duplicates_are_transitive() -> None:
    words = [f"word{i}" for i in range(40)]
    texts = [" ".join(words[i : i + 30]) for i in range(0, 11, 2)]
    assert jaccard(sets(texts, "words")[0], sets(texts, "words")[-1]) < 0.7
    assert set(near_duplicate_groups(texts).tolist()) == {0}
