"""BLEU and chrF against sacreBLEU, the reference implementation."""

from __future__ import annotations

import random

import pytest
import sacrebleu

from gatescope.training.text_metrics import BLEU, ChrF, text_metrics

WORDS = ["a", "an", "man", "dog's", "House,", "runs.", "(", "3.5", ")", "-", "x-ray", "Bäume", "你好", "tree"]


def drawn(seed: int, shortest: int, references: int) -> tuple[list[str], list[list[str]]]:
    """Generated sentences, also empty ones with `shortest` 0, and their accepted ones."""
    source = random.Random(seed)

    def sentence(low: int) -> str:
        return " ".join(source.choices(WORDS, k=source.randint(low, 8)))

    return [sentence(shortest) for _ in range(60)], [
        [sentence(1) for _ in range(references)] for _ in range(60)
    ]


@pytest.mark.parametrize(("shortest", "references"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize(("metric", "score"), [(BLEU, sacrebleu.corpus_bleu), (ChrF, sacrebleu.corpus_chrf)])
def test_scores_of_texts_are_those_of_sacrebleu(
    metric: type, score: object, shortest: int, references: int
) -> None:
    said, accepted = drawn(3, shortest, references)
    ours = metric()
    for start in (0, 40):  # two batches
        ours.update(said[start : start + 40], accepted[start : start + 40])
    columns = [list(column) for column in zip(*accepted, strict=True)]
    expected = score(said, columns).score  # type: ignore[operator]
    assert 0.1 < expected < 99
    assert float(ours.compute()) == pytest.approx(expected, abs=1e-4)


def test_without_a_match_bleu_is_zero() -> None:
    for said, accepted in (("a b c d", "e f g h"), ("", "a b c d"), ("a b", "a b")):
        metric = BLEU()
        metric.update([said], [[accepted]])
        assert float(metric.compute()) == sacrebleu.corpus_bleu([said], [[accepted]]).score == 0


def test_words_are_rated_as_they_are_divided() -> None:
    said, accepted = drawn(5, 1, 1)
    for name, metric in text_metrics("word").items():
        metric.update(said, accepted)
        columns = [[one for (one,) in accepted]]
        score = {
            "bleu": sacrebleu.corpus_bleu(said, columns, tokenize="none", force=True),
            "chrf": sacrebleu.corpus_chrf(said, columns),
        }[name]
        assert float(metric.compute()) == pytest.approx(score.score, abs=1e-4)
    assert text_metrics("phoneme") == text_metrics("character") == {}
