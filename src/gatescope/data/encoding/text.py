"""From texts to token ids: a tokenizer, and a vocabulary built from the train split alone.

A text without a single token becomes one <unk>: the model then answers from its biases, and the example is
counted instead of dropped. `TaskSpec.notes` holds the number of such texts, and what was cut or is unknown.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.data.encoding.corpus import Corpus, TokenNumbers
from gatescope.data.encoding.targets import TaskKind, target_fields
from gatescope.data.encoding.tokenizers import (
    Tokenizer,
    TokenizerName,
    fit_tokenizer,
    make_tokenizer,
    restore,
)
from gatescope.data.encoding.torchtext_compat import torchtext
from gatescope.data.encoding.vectors import load_embeddings
from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged
from gatescope.sequences import PADDING, UNKNOWN, TaskSpec

SPLITS = ("train", "validation", "test")
MaxLength = Annotated[int, Field(ge=1)] | Literal["auto"] | None
LENGTH_QUANTILE = 0.99
"""Quantile of the lengths of train that max_length=auto keeps whole."""
LONGEST = 1_000
"""Largest value of max_length=auto: time and memory of training grow with the longest text of a batch."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with a class index each."""

    texts: Sequence[str]
    labels: Sequence[int]


@dataclass(frozen=True)
class TextEncoding:
    """Settings of the conversion of texts to token ids.

    Args:
        max_tokens: the vocabulary holds the most frequent train tokens, at most this many with the specials.
        min_freq: a token with fewer occurrences in train is <unk>.
        max_length: only the first `max_length` tokens of a text are kept; None keeps all; auto is the
            `LENGTH_QUANTILE` of the lengths of train, at most `LONGEST`.
        specials: further tokens that are always in the vocabulary.
        tokenizer: one of `tokenizers`, or auto.
        vectors: path of pretrained vectors in GloVe's text format, or None.
        frozen: whether pretrained vectors are not trained.
        known_tokenizer: state of the tokenizer of a run that is trained further; empty for `tokenizer`.
    """

    max_tokens: int | None = None
    min_freq: int = 1
    max_length: int | Literal["auto"] | None = None
    specials: Sequence[str] = ()
    tokenizer: TokenizerName = "basic_english"
    vectors: str | None = None
    frozen: bool = False
    known_tokenizer: Mapping[str, str] = field(default_factory=dict)

    def extending(self, task: TaskSpec) -> TextEncoding:
        """Return the settings with which all tokens of a task stay known, with the same ids.

        Args:
            task: of texts.
        """
        more = None if self.max_tokens is None else max(self.max_tokens, len(task.vocabulary))
        return replace(self, specials=task.vocabulary, known_tokenizer=task.tokenizer, max_tokens=more)

    def fit_tokenizer(self, train: Sequence[str]) -> Tokenizer:
        """Return the tokenizer, chosen or trained by the train texts if it depends on them.

        Raises:
            DataError: the package of the tokenizer is not installed.
        """
        if self.known_tokenizer:
            return restore(self.known_tokenizer)
        units = None if self.max_tokens is None else max(self.max_tokens - 1 - len(self.specials), 1)
        return fit_tokenizer(self.tokenizer, train, units, self.min_freq)

    @property
    def fixed_tokenizer(self) -> Tokenizer:
        """The tokenizer, which does not depend on the train texts."""
        assert self.tokenizer not in ("auto", "subwords")
        return make_tokenizer(self.tokenizer)

    def corpus(self, tokenizer: Tokenizer | None = None) -> Corpus:
        """Return an empty corpus with these settings.

        Args:
            tokenizer: the one of `fit_tokenizer`; None for a fixed one.
        """
        tokenizer = tokenizer or self.fixed_tokenizer
        return Corpus(tokenizer, LONGEST if self.max_length == "auto" else self.max_length)

    def splits(
        self,
        train: LabelledTexts,
        validation: LabelledTexts,
        test: LabelledTexts,
        labels: tuple[str, ...],
        notes: dict[str, Any],
    ) -> Splits:
        """Return the classification task of texts that are divided into splits already.

        Args:
            train: texts of the train split.
            validation: texts of the validation split.
            test: texts of the test split.
            labels: names of the classes.
            notes: facts for the record.
        """
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
        targets: Tensor | Ragged,
        labels: tuple[str, ...],
        notes: dict[str, Any],
        kind: TaskKind = "classification",
    ) -> Splits:
        """Return the task of a corpus.

        Args:
            corpus: all N texts.
            rows: indices of the train, validation and test texts.
            targets: of every text, as `target_fields` describes them.
            labels: names of the classes, labels, outputs or tags.
            notes: facts for the record.
            kind: what is predicted.
        """
        limit = self._limit(corpus.uncut(rows[0]))
        parts = [corpus.subset(np.asarray(part), limit) for part in rows]
        vocabulary = self.vocabulary(corpus.tokens, parts[0].numbers, corpus.tokenizer.name)
        ids_by_number = torch.tensor(vocabulary.lookup_indices(corpus.tokens))
        inputs = [
            Ragged.from_flat(ids_by_number[torch.from_numpy(part.numbers)], part.lengths) for part in parts
        ]
        train, validation, test = [
            Examples(sequences, _select(targets, np.asarray(row)), part.uncut)
            for sequences, row, part in zip(inputs, rows, parts, strict=True)
        ]
        notes = notes | {
            "tokenizer": corpus.tokenizer.name,
            "max_length": limit,
            "texts_without_tokens": sum(part.empty for part in parts),
        }
        for name, sequences, part in zip(SPLITS, inputs, parts, strict=True):
            notes |= _counts(name, sequences.flat == vocabulary[UNKNOWN], part)
        words = tuple(vocabulary.get_itos())
        vectors = None
        if self.vectors is not None:
            counts = np.bincount(inputs[0].flat.numpy(), minlength=len(words))
            vectors, coverage = load_embeddings(self.vectors, words, counts, words.index(PADDING))
            notes |= coverage
        fields = target_fields(kind, labels)
        return Splits(train, validation, test, self._task(words, fields, notes, vectors, corpus.tokenizer))

    def _limit(self, train_lengths: np.ndarray) -> int | None:
        """Return the number of tokens at the start of a text that are kept; None for all."""
        if self.max_length != "auto":
            return self.max_length
        quantile = np.quantile(train_lengths, LENGTH_QUANTILE, method="higher")
        return min(max(int(quantile), 1), LONGEST)

    def vocabulary(self, tokens: Sequence[str], train: np.ndarray, tokenizer: str) -> Any:
        """Build torchtext's Vocab in the order of its `build_vocab_from_iterator`.

        Args:
            tokens: all tokens, by number.
            train: (M,) numbers of the tokens of the train texts.
            tokenizer: its name; the number of subwords was limited when they were trained.
        """
        specials = [PADDING, UNKNOWN, *(s for s in self.specials if s not in (PADDING, UNKNOWN))]
        counts = np.bincount(train, minlength=len(tokens))
        counted = [
            (tokens[i], int(counts[i])) for i in np.flatnonzero(counts).tolist() if tokens[i] not in specials
        ]
        counted.sort(key=lambda item: (-item[1], item[0]))
        limit = None if self.max_tokens is None else max(self.max_tokens - len(specials), 0)
        min_freq = 1 if tokenizer == "subwords" else self.min_freq
        vocabulary = torchtext.vocab.vocab(OrderedDict(counted[:limit]), min_freq, specials)
        vocabulary.set_default_index(vocabulary[UNKNOWN])
        return vocabulary

    def _task(
        self,
        words: tuple[str, ...],
        fields: dict[str, Any],
        notes: dict[str, Any],
        vectors: Tensor | None,
        tokenizer: Tokenizer,
    ) -> TaskSpec:
        return TaskSpec(
            inputs="tokens",
            input_size=len(words),
            vocabulary=words,
            padding_index=words.index(PADDING),
            vectors=vectors,
            frozen_vectors=self.frozen,
            tokenizer=tokenizer.state,
            notes=notes,
            **fields,
        )


def _select(targets: Tensor | Ragged, rows: np.ndarray) -> Tensor | Ragged:
    """Return the targets of the examples with these indices."""
    return targets.subset(rows) if isinstance(targets, Ragged) else targets[torch.from_numpy(rows)]


def _counts(name: str, unknown: Tensor, part: TokenNumbers) -> dict[str, Any]:
    """Return facts about the texts of a split for the record.

    Args:
        name: of the split.
        unknown: (sum of T_i,) true where a token is <unk>.
        part: tokens of the split.
    """
    is_cut = part.uncut > part.lengths
    cut_tokens = (part.uncut - part.lengths)[is_cut].sum() / max(part.uncut.sum(), 1)
    return {
        f"{name}_texts": len(part.lengths),
        f"{name}_texts_empty": part.empty,
        f"{name}_unknown_share": round(unknown.float().mean().item(), 6),
        f"{name}_texts_cut_share": round(float(is_cut.mean()), 6),
        f"{name}_tokens_cut_share": round(float(cut_tokens), 6),
    }
