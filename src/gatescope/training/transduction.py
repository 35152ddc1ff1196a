"""A sequence for a sequence: cross-entropy of the true symbols, error rates of what the model writes itself.

Names of the rates follow the target's unit: character, phoneme or word. For words also BLEU and chrF; for
phonemes the word error rate is the share of words with any error, as Yao & Zweig 2015 have it. Where data
accept several answers, each rate takes the nearest one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional.text import word_error_rate
from torchmetrics.text import BLEUScore, CHRFScore, WordErrorRate

from gatescope.models.encoder import SequenceModel
from gatescope.models.seq2seq import Seq2Seq
from gatescope.sequences import END, IGNORE, UNKNOWN, Batch, TaskSpec, first_answer
from gatescope.training.objective import BaseObjective, masked_mean

Answers = list[list[str]]
"""The accepted answers to each source, symbols with spaces between."""


class ExactMatch(Metric):
    """Share of predictions equal to an accepted answer."""

    full_state_update = False
    matched: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("matched", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], answers: Answers) -> None:
        self.matched += sum(p in accepted for p, accepted in zip(predictions, answers, strict=True))
        self.count += len(predictions)

    def compute(self) -> Tensor:
        return self.matched / self.count


class SequenceErrorRate(ExactMatch):
    """Share of predictions equal to no accepted answer."""

    def compute(self) -> Tensor:
        return 1 - super().compute()


class NearestErrorRate(WordErrorRate):
    """Edits over symbols of the nearest accepted answers."""

    def update(self, predictions: Sequence[str], answers: Answers) -> None:  # type: ignore[override]
        pairs = zip(predictions, answers, strict=True)
        super().update(list(predictions), [nearest(prediction, accepted) for prediction, accepted in pairs])


def nearest(prediction: str, accepted: Sequence[str]) -> str:
    """The accepted answer with the lowest error rate."""
    if len(accepted) == 1:
        return accepted[0]
    return min(accepted, key=lambda answer: float(word_error_rate(prediction, answer)))


class Objective(BaseObjective):
    """Metrics: exact_match and the unit's error rate; word_error_rate for phonemes; bleu and chrf for words.

    chrf is chrF (Popović 2015; β = 2, character 1- to 6-grams without spaces), from 0 to 1; with word n-grams
    it would be chrF++.

    While training: accuracy of the next symbol, given the true ones.
    """

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """values (B, U', V) as `Seq2Seq.readout` gives them, targets (B, U) -> (B,): mean over the symbols
        of the first answer and its END."""
        answer = first_answer(targets)
        loss = F.cross_entropy(values.transpose(1, 2), answer, ignore_index=IGNORE, reduction="none")
        return masked_mean(loss, answer != IGNORE)

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric | MetricCollection] = {
            "exact_match": ExactMatch(),
            f"{self.task.target_unit}_error_rate": NearestErrorRate(),
        }
        if self.task.target_unit == "phoneme":
            metrics["word_error_rate"] = SequenceErrorRate()
        if self.task.target_unit == "word":
            metrics |= {"bleu": BLEUScore(), "chrf": CHRFScore(n_word_order=0)}
        return MetricCollection(metrics, compute_groups=False)

    def training_metrics(self) -> MetricCollection:
        accuracy = MulticlassAccuracy(self.task.output_size, average="micro", ignore_index=IGNORE)
        return MetricCollection({"accuracy": accuracy})

    def training_outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return values.argmax(-1), first_answer(targets)

    def answer(self, model: SequenceModel, batch: Batch, values: Tensor, stage: str) -> Tensor:
        """(B, U) symbols that the model writes: greedy for validation, by the decoder's beam for test."""
        assert isinstance(model, Seq2Seq)
        return model.generate(batch, model.decoding.beam if stage == "test" else 1).symbols

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[list[str], Answers]:
        # Two unknown symbols are not the same symbol: what is written never equals an <unk> asked for.
        said = [next(answers(row, self.task, unknown="?")) for row in values]
        return said, [list(answers(row, self.task)) for row in targets]

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        said, accepted = outcome
        near = [nearest(prediction, every) for prediction, every in zip(said, accepted, strict=True)]
        return {
            "target": [every[0] for every in accepted],
            "prediction": list(said),
            "also": [json.dumps(every[1:], ensure_ascii=False) if every[1:] else "" for every in accepted],
            "errors": np.array([edits(*pair) for pair in zip(said, near, strict=True)], dtype=np.int64),
            "symbols": np.array([len(answer.split()) for answer in near], dtype=np.int64),
        }


def edits(prediction: str, answer: str) -> int:
    """Insertions, deletions and substitutions of symbols between the two."""
    length = len(answer.split())
    if not length:
        return len(prediction.split())
    return round(float(word_error_rate(prediction, answer)) * length)


def answers(symbols: Tensor, task: TaskSpec, unknown: str = UNKNOWN) -> Iterator[str]:
    """(U,) ids, each answer with its END (the last may lack it) -> the answers, spaces between symbols, which
    makes a symbol that is itself a space a ␣; `unknown` for <unk>."""
    answer: list[str] = []
    for symbol in symbols[symbols != IGNORE].tolist():
        if symbol == END:
            yield " ".join(answer)
            answer = []
        else:
            name = task.target_vocabulary[symbol]
            answer.append(unknown if name == UNKNOWN else name.replace(" ", "␣"))
    if answer:
        yield " ".join(answer)
