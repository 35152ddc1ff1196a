"""Texts as UTF-8 and as token numbers: a corpus of a million texts needs memory for these and no more."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatescope.data.encoding.tokenizers import Tokenizer
from gatescope.data.ragged import ranges
from gatescope.sequences import UNKNOWN

_UNKNOWN_NUMBER = 0
"""Number of <unk>, which replaces a text without tokens."""


class Texts(Sequence[str]):
    """Texts one after the other, as UTF-8."""

    def __init__(self) -> None:
        self._content, self._ends = bytearray(), array("q")

    def add(self, text: str) -> None:
        """Append a text."""
        self._content += text.encode()
        self._ends.append(len(self._content))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        end = self._ends[index]
        start = self._ends[index - 1] if index else 0
        return self._content[start:end].decode()


class Selection(Sequence[str]):
    """Some texts of a sequence, without a copy.

    Args:
        texts: the sequence.
        rows: indices of the selected texts.
    """

    def __init__(self, texts: Sequence[str], rows: np.ndarray) -> None:
        self._texts, self._rows = texts, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._texts[int(self._rows[index])]


class TokenNumbers(NamedTuple):
    """The tokens of some texts.

    Attributes:
        numbers: (sum of T_i,) int32 numbers of the tokens, one text after the other.
        lengths: (N,) int64 T_i.
        uncut: (N,) int64 number of tokens of each text, with those that are not kept.
        empty: how many of the texts have no tokens; each is represented by one <unk>.
    """

    numbers: np.ndarray
    lengths: np.ndarray
    uncut: np.ndarray
    empty: int


class Corpus:
    """Texts as the numbers of their tokens, in order of first occurrence.

    Args:
        tokenizer: maps a text to its tokens.
        max_length: only the first `max_length` tokens of a text are kept; None keeps all.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int | None = None) -> None:
        self.tokenizer, self._max_length = tokenizer, max_length
        self._lexicon = {UNKNOWN: _UNKNOWN_NUMBER}
        self._numbers, self._lengths, self._uncut = array("i"), array("i"), array("i")

    def add(self, text: str) -> None:
        """Append a text."""
        self.add_tokens(self.tokenizer(text))

    def add_tokens(self, tokens: Sequence[str]) -> None:
        """Append a text that is divided into tokens."""
        self._uncut.append(len(tokens))
        tokens = tokens[: self._max_length]
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

    def uncut(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of tokens (M,) int64 of the texts with these indices, with those not kept."""
        return np.frombuffer(self._uncut, dtype=np.int32)[rows].astype(np.int64)

    def subset(self, rows: np.ndarray, max_length: int | None = None) -> TokenNumbers:
        """Return the texts with these indices (M,), in this order.

        Args:
            rows: indices of the texts.
            max_length: only so many tokens of a text are returned; None for all that are kept.
        """
        all_lengths = np.frombuffer(self._lengths, dtype=np.int32)
        numbers = np.frombuffer(self._numbers, dtype=np.int32) if self._numbers else np.empty(0, np.int32)
        starts = np.cumsum(all_lengths, dtype=np.int64) - all_lengths
        lengths = all_lengths[rows].astype(np.int64)
        if max_length is not None:
            lengths = np.minimum(lengths, max_length)
        empty = lengths == 0
        # Texts without tokens point to an additional <unk> at the end.
        starts = np.where(empty, len(numbers), starts[rows])
        lengths[empty] = 1
        positions = ranges(starts, lengths)
        kept = np.append(numbers, np.int32(_UNKNOWN_NUMBER))[positions]
        return TokenNumbers(kept, lengths, self.uncut(rows), int(empty.sum()))
