"""Texts as token numbers: a corpus of a million texts needs memory for its tokens and no more."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from gatescope.data.encoding.torchtext_compat import get_tokenizer
from gatescope.data.ragged import ranges
from gatescope.sequences import UNKNOWN

_UNKNOWN_NUMBER = 0
"""Number of <unk>, which replaces a text without tokens."""

Tokenizer = Literal["basic_english", "split"]


class TokenNumbers(NamedTuple):
    """The tokens of some texts.

    Attributes:
        numbers: (sum of T_i,) int32 numbers of the tokens, one text after the other.
        lengths: (N,) int64 T_i.
        empty: how many of the texts have no tokens; each is represented by one <unk>.
    """

    numbers: np.ndarray
    lengths: np.ndarray
    empty: int


class Corpus:
    """Texts as the numbers of their tokens, in order of first occurrence.

    Args:
        tokenizer: basic_english, torchtext's (lower case, punctuation separated), or split, at white space.
        max_length: only the first `max_length` tokens of a text are kept; None keeps all.
    """

    def __init__(self, tokenizer: Tokenizer = "basic_english", max_length: int | None = None) -> None:
        self._tokenize = get_tokenizer(None if tokenizer == "split" else tokenizer)
        self._max_length = max_length
        self._lexicon = {UNKNOWN: _UNKNOWN_NUMBER}
        self._numbers, self._lengths = array("i"), array("i")

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text that are kept."""
        tokens: list[str] = self._tokenize(text)[: self._max_length]
        return tokens

    def add(self, text: str) -> None:
        """Append a text."""
        tokens = self.tokenize(text)
        lexicon = self._lexicon
        self._numbers.extend([lexicon.setdefault(token, len(lexicon)) for token in tokens])
        self._lengths.append(len(tokens))

    def extend(self, texts: Iterable[str]) -> Corpus:
        """Append texts; return the corpus."""
        for text in texts:
            self.add(text)
        return self

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def tokens(self) -> list[str]:
        """All different tokens, by number."""
        return list(self._lexicon)

    def subset(self, rows: np.ndarray) -> TokenNumbers:
        """Return the texts with these indices (M,), in this order."""
        all_lengths = np.frombuffer(self._lengths, dtype=np.int32)
        numbers = np.frombuffer(self._numbers, dtype=np.int32) if self._numbers else np.empty(0, np.int32)
        starts = np.cumsum(all_lengths, dtype=np.int64) - all_lengths
        lengths = all_lengths[rows].astype(np.int64)
        empty = lengths == 0
        # Texts without tokens point to an additional <unk> at the end.
        starts = np.where(empty, len(numbers), starts[rows])
        lengths[empty] = 1
        positions = ranges(starts, lengths)
        return TokenNumbers(
            np.append(numbers, np.int32(_UNKNOWN_NUMBER))[positions], lengths, int(empty.sum())
        )
