"""From texts to token ids, for every dataset of texts: torchtext's tokenizer, and a vocabulary built from the
train split alone.

A text is tokenised when it is read and kept as integers, so that a corpus of a million texts needs memory for
its tokens and no more. A text without a single token becomes one <unk>: the model then answers from its bias,
and the example is counted rather than lost. How many did is in `TaskSpec.notes`.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged
from gatescope.data.torchtext_compat import get_tokenizer, torchtext
from gatescope.data.vectors import embed
from gatescope.sequences import TaskSpec

PADDING, UNKNOWN = "<pad>", "<unk>"
_NO_TOKENS = 0
"""Raw id of <unk>, which stands for a text without tokens."""

Tokenizer = Literal["basic_english", "split"]


@dataclass(frozen=True)
class Texts:
    """Texts with one label index each."""

    texts: Sequence[str]
    labels: Sequence[int]


class Corpus:
    """Texts as the integers of their tokens, numbered as they first occur.

    Args:
        tokenizer: basic_english, torchtext's (lower case, punctuation apart), or split, at white space.
        max_length: only the first so many tokens of a text are kept; None for all.
    """

    def __init__(self, tokenizer: Tokenizer = "basic_english", max_length: int | None = None) -> None:
        self._tokenize = get_tokenizer(None if tokenizer == "split" else tokenizer)
        self._max_length = max_length
        self._lexicon = {UNKNOWN: _NO_TOKENS}
        self._ids, self._lengths = array("i"), array("i")

    def tokenize(self, text: str) -> list[str]:
        tokens: list[str] = self._tokenize(text)[: self._max_length]
        return tokens

    def add(self, text: str) -> None:
        tokens = self.tokenize(text)
        lexicon = self._lexicon
        self._ids.extend([lexicon.setdefault(token, len(lexicon)) for token in tokens])
        self._lengths.append(len(tokens))

    def extend(self, texts: Iterable[str]) -> Corpus:
        for text in texts:
            self.add(text)
        return self

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def tokens(self) -> list[str]:
        """Every token that occurs, by its raw id."""
        return list(self._lexicon)

    def chosen(self, rows: np.ndarray) -> RawTexts:
        lengths = np.frombuffer(self._lengths, dtype=np.int32)
        ids = np.frombuffer(self._ids, dtype=np.int32) if self._ids else np.empty(0, np.int32)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        kept = lengths[rows].astype(np.int64)
        empty = kept == 0
        # One place more at the end holds <unk>, to which texts without tokens point.
        starts = np.where(empty, len(ids), starts[rows])
        kept[empty] = 1
        first = np.cumsum(kept) - kept
        places = np.arange(kept.sum()) + np.repeat(starts - first, kept)
        return RawTexts(np.append(ids, np.int32(_NO_TOKENS))[places], kept, int(empty.sum()))


class RawTexts(NamedTuple):
    """Raw ids (sum of T_i,), lengths (N,), and how many of the texts have no tokens."""

    ids: np.ndarray
    lengths: np.ndarray
    empty: int


@dataclass(frozen=True)
class Encoding:
    """How texts become ids.

    Args:
        max_tokens: the vocabulary holds that many of the most frequent train tokens, specials included.
        min_freq: a token that occurs less often in train is <unk>.
        max_length: only the first so many tokens of a text are kept; None for all.
        specials: further tokens, in the vocabulary whether they occur or not.
        tokenizer: as in `Corpus`.
        vectors: path of pretrained vectors in GloVe's text format, or None.
        frozen: whether pretrained vectors stay as they are in training.
    """

    max_tokens: int | None = None
    min_freq: int = 1
    max_length: int | None = None
    specials: Sequence[str] = ()
    tokenizer: Tokenizer = "basic_english"
    vectors: str | None = None
    frozen: bool = False

    def corpus(self) -> Corpus:
        return Corpus(self.tokenizer, self.max_length)

    def tokens(self, text: str) -> list[str]:
        """One text's, however long it is."""
        return Corpus(self.tokenizer).tokenize(text)

    def splits(
        self, train: Texts, validation: Texts, test: Texts, labels: tuple[str, ...], notes: dict[str, Any]
    ) -> Splits:
        """A classification of texts that are at hand in three splits."""
        corpus, rows = self.corpus(), []
        for split in (train, validation, test):
            start = len(corpus)
            rows.append(np.arange(start, len(corpus.extend(split.texts))))
        targets = torch.tensor([*train.labels, *validation.labels, *test.labels])
        return self.encode(corpus, rows, targets, labels, notes)

    def encode(
        self,
        corpus: Corpus,
        rows: Sequence[np.ndarray],
        targets: Tensor,
        labels: tuple[str, ...],
        notes: dict[str, Any],
    ) -> Splits:
        """The task of a corpus.

        Args:
            rows: indices of train's, validation's and test's texts.
            targets: (N,) label index of every text; real values where there are no `labels`.
            labels: names of the classes; two classes have one (sigmoid) output.
        """
        chosen = [corpus.chosen(np.asarray(part)) for part in rows]
        tokens = corpus.tokens
        vocabulary = self.vocabulary(tokens, chosen[0].ids)
        unknown = vocabulary[UNKNOWN]
        table = torch.tensor(vocabulary.lookup_indices(tokens))
        encoded = [table[torch.from_numpy(part.ids)] for part in chosen]
        train, validation, test = [
            Examples(Ragged.of(ids, part.lengths), targets[torch.from_numpy(np.asarray(where))])
            for ids, part, where in zip(encoded, chosen, rows, strict=True)
        ]
        notes = notes | {"texts_without_tokens": sum(part.empty for part in chosen)}
        for name, ids, part in zip(("train", "validation", "test"), encoded, chosen, strict=True):
            notes[f"{name}_texts"] = len(part.lengths)
            notes[f"{name}_unknown_share"] = round((ids == unknown).float().mean().item(), 6)
        words = tuple(vocabulary.get_itos())
        vectors = None
        if self.vectors is not None:
            counts = np.bincount(encoded[0].numpy(), minlength=len(words))
            vectors, found = embed(self.vectors, words, counts, words.index(PADDING))
            notes |= found
        return Splits(train, validation, test, self._task(words, labels, notes, vectors))

    def vocabulary(self, tokens: Sequence[str], train: np.ndarray) -> Any:
        """torchtext's Vocab of the raw ids in train, as its `build_vocab_from_iterator` orders them."""
        specials = [PADDING, UNKNOWN, *(s for s in self.specials if s not in (PADDING, UNKNOWN))]
        counts = np.bincount(train, minlength=len(tokens))
        counted = [
            (tokens[i], int(counts[i])) for i in np.flatnonzero(counts).tolist() if tokens[i] not in specials
        ]
        counted.sort(key=lambda item: (-item[1], item[0]))
        room = None if self.max_tokens is None else max(self.max_tokens - len(specials), 0)
        vocabulary = torchtext.vocab.vocab(OrderedDict(counted[:room]), self.min_freq, specials)
        vocabulary.set_default_index(vocabulary[UNKNOWN])
        return vocabulary

    def _task(
        self, words: tuple[str, ...], labels: tuple[str, ...], notes: dict[str, Any], vectors: Tensor | None
    ) -> TaskSpec:
        return TaskSpec(
            kind="classification" if labels else "regression",
            inputs="tokens",
            input_size=len(words),
            output_size=1 if len(labels) in (0, 2) else len(labels),
            metric="accuracy" if labels else "mse",
            direction="max" if labels else "min",
            labels=labels,
            vocabulary=words,
            padding_index=words.index(PADDING),
            vectors=vectors,
            frozen_vectors=self.frozen,
            notes=notes,
        )
