"""From texts to token ids: torchtext's tokenizer, and a vocabulary built from the train split alone.

A text without a single token becomes one <unk>: the model then answers from its bias, and the example is
counted rather than lost. How many did is in `TaskSpec.notes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gatescope.data.base import Examples, Splits, TaskSpec
from gatescope.data.torchtext_compat import build_vocab_from_iterator, get_tokenizer

PADDING, UNKNOWN = "<pad>", "<unk>"


@dataclass(frozen=True)
class Texts:
    """Texts with one label index each."""

    texts: Sequence[str]
    labels: Sequence[int]


@dataclass(frozen=True)
class Encoding:
    """How texts become ids: the `max_tokens` most frequent train tokens (specials included) that occur at
    least `min_freq` times; only the first `max_length` tokens of a text are kept."""

    max_tokens: int | None = None
    min_freq: int = 1
    max_length: int | None = None

    def splits(
        self, train: Texts, validation: Texts, test: Texts, labels: tuple[str, ...], notes: dict[str, Any]
    ) -> Splits:
        """A classification task over tokens; two classes have one (sigmoid) output."""
        tokenize = get_tokenizer("basic_english")
        tokens = {
            name: [tokenize(text)[: self.max_length] for text in split.texts]
            for name, split in (("train", train), ("validation", validation), ("test", test))
        }
        vocabulary = build_vocab_from_iterator(
            tokens["train"],
            min_freq=self.min_freq,
            specials=[PADDING, UNKNOWN],
            max_tokens=self.max_tokens,
        )
        vocabulary.set_default_index(vocabulary[UNKNOWN])
        encoded = {
            name: [vocabulary(words or [UNKNOWN]) for words in split] for name, split in tokens.items()
        }
        task = TaskSpec(
            kind="classification",
            inputs="tokens",
            input_size=len(vocabulary),
            output_size=1 if len(labels) == 2 else len(labels),
            metric="accuracy",
            direction="max",
            labels=labels,
            vocabulary=tuple(vocabulary.get_itos()),
            padding_index=vocabulary[PADDING],
            notes=notes | _counts(tokens, encoded, vocabulary[UNKNOWN]),
        )

        def examples(name: str, split: Texts) -> Examples:
            return Examples([torch.tensor(row) for row in encoded[name]], torch.tensor(split.labels))

        return Splits(
            examples("train", train), examples("validation", validation), examples("test", test), task
        )


def _counts(
    tokens: dict[str, list[list[str]]], encoded: dict[str, list[list[int]]], unknown: int
) -> dict[str, Any]:
    counts: dict[str, Any] = {"texts_without_tokens": sum(not t for split in tokens.values() for t in split)}
    for name, rows in encoded.items():
        counts[f"{name}_texts"] = len(rows)
        flat = np.concatenate([np.asarray(row) for row in rows]) if rows else np.empty(0)
        counts[f"{name}_unknown_share"] = round(float((flat == unknown).mean()), 6) if len(flat) else 0.0
    return counts
