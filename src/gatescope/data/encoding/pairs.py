"""From pairs of source and target to a transduction: two vocabularies, built from the train split alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from gatescope.data.encoding.torchtext_compat import build_vocab_from_iterator
from gatescope.data.examples import Examples, Splits
from gatescope.sequences import END, PADDING, UNKNOWN, TaskSpec

ENDING = "<end>"
"""Entry of a target vocabulary at index END."""


class Pair(NamedTuple):
    """A source and its accepted targets, in symbols; the first target is the one that is trained on."""

    source: Sequence[str]
    targets: Sequence[Sequence[str]]


@dataclass(frozen=True)
class PairEncoding:
    """Settings of the conversion of pairs to ids.

    Args:
        unit: what one target symbol is; error rates are named by it.
        metric: the metric that studies compare.
        direction: whether a larger or a smaller value of `metric` is better.
        min_freq: a symbol with fewer occurrences in train is <unk>.
        max_tokens: size limit of each vocabulary, specials included; None for no limit.
        unknown: whether targets may hold <unk>; otherwise every target symbol must occur in train.
    """

    unit: Literal["character", "phoneme", "word", "subword"]
    metric: str = "exact_match"
    direction: Literal["max", "min"] = "max"
    min_freq: int = 1
    max_tokens: int | None = None
    unknown: bool = False

    def splits(
        self, train: Sequence[Pair], validation: Sequence[Pair], test: Sequence[Pair], notes: dict[str, Any]
    ) -> Splits:
        """Return a transduction from tokens to tokens.

        Args:
            train: pairs of the train split.
            validation: pairs of the validation split.
            test: pairs of the test split.
            notes: facts for the record.

        Raises:
            RuntimeError: a target symbol does not occur in train, and `unknown` is false.
        """
        source = self._vocabulary((pair.source for pair in train), [PADDING, UNKNOWN])
        target = self._vocabulary(
            (answer for pair in train for answer in pair.targets), [ENDING, *[UNKNOWN] * self.unknown]
        )
        task = TaskSpec(
            kind="transduction",
            inputs="tokens",
            input_size=len(source),
            output_size=len(target),
            metric=self.metric,
            direction=self.direction,
            vocabulary=tuple(source.get_itos()),
            padding_index=source[PADDING],
            target_vocabulary=tuple(target.get_itos()),
            target_unit=self.unit,
            notes=notes,
        )

        def examples(pairs: Sequence[Pair]) -> Examples:
            return Examples(
                [torch.tensor(source(list(pair.source) or [UNKNOWN])) for pair in pairs],
                [
                    torch.tensor([i for answer in pair.targets for i in (*target(list(answer)), END)])
                    for pair in pairs
                ],
            )

        return Splits(examples(train), examples(validation), examples(test), task)

    def _vocabulary(self, sequences: Iterable[Sequence[str]], specials: list[str]) -> Any:
        vocabulary = build_vocab_from_iterator(
            sequences, min_freq=self.min_freq, specials=specials, max_tokens=self.max_tokens
        )
        if UNKNOWN in specials:
            vocabulary.set_default_index(vocabulary[UNKNOWN])
        return vocabulary
