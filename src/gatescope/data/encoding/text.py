"""From texts to token ids: torchtext's tokenizer, and a vocabulary built from the train split alone.

A text without a single token becomes one <unk>: the model then answers from its biases, and the example is
counted instead of dropped. `TaskSpec.notes` holds the number of such texts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatescope.data.encoding.corpus import Corpus, Tokenizer
from gatescope.data.encoding.torchtext_compat import torchtext
from gatescope.data.encoding.vectors import load_embeddings
from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged
from gatescope.sequences import PADDING, UNKNOWN, TaskSpec


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
        max_length: only the first `max_length` tokens of a text are kept; None keeps all.
        specials: further tokens that are always in the vocabulary.
        tokenizer: as in `Corpus`.
        vectors: path of pretrained vectors in GloVe's text format, or None.
        frozen: whether pretrained vectors are not trained.
    """

    max_tokens: int | None = None
    min_freq: int = 1
    max_length: int | None = None
    specials: Sequence[str] = ()
    tokenizer: Tokenizer = "basic_english"
    vectors: str | None = None
    frozen: bool = False

    def corpus(self) -> Corpus:
        """Return an empty corpus with these settings."""
        return Corpus(self.tokenizer, self.max_length)

    def tokenize(self, text: str) -> list[str]:
        """Return all tokens of a text, without a limit on their number."""
        return Corpus(self.tokenizer).tokenize(text)

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
        targets: Tensor,
        labels: tuple[str, ...],
        notes: dict[str, Any],
    ) -> Splits:
        """Return the task of a corpus.

        Args:
            corpus: all N texts.
            rows: indices of the train, validation and test texts.
            targets: (N,) class index of every text; real values if there are no `labels`.
            labels: names of the classes; two classes have one (sigmoid) output.
            notes: facts for the record.
        """
        parts = [corpus.subset(np.asarray(part)) for part in rows]
        vocabulary = self.vocabulary(corpus.tokens, parts[0].numbers)
        ids_by_number = torch.tensor(vocabulary.lookup_indices(corpus.tokens))
        inputs = [
            Ragged.from_flat(ids_by_number[torch.from_numpy(part.numbers)], part.lengths) for part in parts
        ]
        train, validation, test = [
            Examples(sequences, targets[torch.from_numpy(np.asarray(part))])
            for sequences, part in zip(inputs, rows, strict=True)
        ]
        notes = notes | {"texts_without_tokens": sum(part.empty for part in parts)}
        for name, sequences in zip(("train", "validation", "test"), inputs, strict=True):
            unknown = sequences.flat == vocabulary[UNKNOWN]
            notes[f"{name}_texts"] = len(sequences)
            notes[f"{name}_unknown_share"] = round(unknown.float().mean().item(), 6)
        words = tuple(vocabulary.get_itos())
        vectors = None
        if self.vectors is not None:
            counts = np.bincount(inputs[0].flat.numpy(), minlength=len(words))
            vectors, coverage = load_embeddings(self.vectors, words, counts, words.index(PADDING))
            notes |= coverage
        return Splits(train, validation, test, self._task(words, labels, notes, vectors))

    def vocabulary(self, tokens: Sequence[str], train: np.ndarray) -> Any:
        """Build torchtext's Vocab in the order of its `build_vocab_from_iterator`.

        Args:
            tokens: all tokens, by number.
            train: (M,) numbers of the tokens of the train texts.
        """
        specials = [PADDING, UNKNOWN, *(s for s in self.specials if s not in (PADDING, UNKNOWN))]
        counts = np.bincount(train, minlength=len(tokens))
        counted = [
            (tokens[i], int(counts[i])) for i in np.flatnonzero(counts).tolist() if tokens[i] not in specials
        ]
        counted.sort(key=lambda item: (-item[1], item[0]))
        limit = None if self.max_tokens is None else max(self.max_tokens - len(specials), 0)
        vocabulary = torchtext.vocab.vocab(OrderedDict(counted[:limit]), self.min_freq, specials)
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
