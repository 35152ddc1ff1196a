"""A sequence for each sequence: cross-entropy of the true symbols, error rates of the generated ones.

The error rates are named after the target's unit: character, phoneme or word. Words, and the texts that
subwords make up, also have BLEU and chrF (0 to 100). For phonemes, the word error rate is the share of
sequences with any error (Yao & Zweig 2015). If the data accept several answers, each rate uses the nearest
one.
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
from torchmetrics.text import WordErrorRate

from gatescope.data.encoding.tokenizers import join_tokens
from gatescope.models.encoder import SequenceModel
from gatescope.models.generating import GeneratingModel
from gatescope.sequences import END, IGNORE, SPACE, UNKNOWN, Batch, TaskSpec, first_answer
from gatescope.training.objective import BaseObjective, masked_mean
from gatescope.training.text_metrics import error_rate_name, text_metrics

References = list[list[str]]
"""The accepted answers of each source; symbols are separated by spaces."""


class ExactMatch(Metric):
    """Share of predictions that equal an accepted answer.

    Args:
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    full_state_update = False
    higher_is_better = True
    matched: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("matched", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], references: References) -> None:
        """Count the matches of a batch."""
        self.matched += sum(p in accepted for p, accepted in zip(predictions, references, strict=True))
        self.count += len(predictions)

    def compute(self) -> Tensor:
        """Return the share, of shape ()."""
        return self.matched / self.count


class SequenceErrorRate(ExactMatch):
    """Share of predictions that equal no accepted answer."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """Return the share, of shape ()."""
        return 1 - super().compute()


class NearestErrorRate(WordErrorRate):
    """Number of edits to the nearest accepted answers, divided by the number of their symbols."""

    def update(self, predictions: Sequence[str], references: References) -> None:  # type: ignore[override]
        """Count the edits and symbols of a batch."""
        pairs = zip(predictions, references, strict=True)
        super().update(list(predictions), [nearest(prediction, accepted) for prediction, accepted in pairs])


def joined(text: str) -> str:
    """Return the text that characters with spaces between them make: "t w o ␣ t o" is "two to"."""
    return "".join(text.split()).replace(SPACE, " ")


class JoinedWordErrorRate(NearestErrorRate):
    """Word error rate of texts whose symbols are characters."""

    def update(self, predictions: Sequence[str], references: References) -> None:  # type: ignore[override]
        """Count the edits and words of a batch."""
        texts = [[joined(text) for text in accepted] for accepted in references]
        super().update([joined(text) for text in predictions], texts)


def nearest(prediction: str, accepted: Sequence[str]) -> str:
    """Return the accepted answer with the lowest error rate."""
    if len(accepted) == 1:
        return accepted[0]
    return min(accepted, key=lambda answer: float(word_error_rate(prediction, answer)))


class Objective(BaseObjective):
    """Cross-entropy of the true symbols, with the metrics exact_match and the unit's error rate.

    Phonemes, and characters with spaces among them, also have word_error_rate, words and subwords bleu and
    chrf (0 to 100). Subwords are rated by the text that they make up: its words and its characters. Training
    batches have the accuracy of the next symbol, given the true symbols before it.

    Args:
        task: The task.
        label_smoothing: Share of the target's probability that training spreads over all symbols.
    """

    def __init__(self, task: TaskSpec, label_smoothing: float = 0.0) -> None:
        super().__init__(task)
        self.label_smoothing = label_smoothing

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy over the symbols of the first answer and its END.

        Shape:
            values: (B, U', V), see `Seq2Seq.readout`; targets: (B, U); the result: (B,).
        """
        answer = first_answer(targets)
        loss = F.cross_entropy(
            values.flatten(0, 1), answer.flatten(), ignore_index=IGNORE, reduction="none"
        ).view_as(answer)
        return masked_mean(loss, answer != IGNORE)

    def minimised(self, losses: Tensor, values: Tensor, targets: Tensor) -> Tensor:
        """Return the smoothed cross-entropy of each example, of shape (B,).

        Of logits z with the true symbol y, (1 - ε) CE(y) + ε/V Σ_v CE(v) = CE(y) + ε (z_y - mean of z).
        """
        if not self.label_smoothing:
            return losses
        answer = first_answer(targets)
        true = values.gather(-1, answer.clamp(min=0)[..., None])[..., 0]
        return losses + self.label_smoothing * masked_mean(true - values.mean(-1), answer != IGNORE)

    def metrics(self) -> MetricCollection:
        """Return the metrics of generated sequences."""
        metrics: dict[str, Metric | MetricCollection] = {
            "exact_match": ExactMatch(),
            error_rate_name(self.task.target_unit): NearestErrorRate(),
        }
        if self.task.target_unit == "character" and " " in self.task.target_vocabulary:
            metrics["word_error_rate"] = JoinedWordErrorRate()
        if self.task.target_unit == "phoneme":
            metrics["word_error_rate"] = SequenceErrorRate()
        metrics |= text_metrics(self.task.target_unit)
        return MetricCollection(metrics, compute_groups=False)

    def training_metrics(self) -> MetricCollection:
        """Return the accuracy of the next symbol."""
        accuracy = MulticlassAccuracy(self.task.output_size, average="micro", ignore_index=IGNORE)
        return MetricCollection({"accuracy": accuracy})

    def training_outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and true symbols of the first answer, of shape (B, U') each."""
        return values.argmax(-1), first_answer(targets)

    def answer(self, model: SequenceModel, batch: Batch, values: Tensor, stage: str) -> Tensor:
        """Return generated symbols (B, U): by greedy search in validation, by beam search in test."""
        assert isinstance(model, GeneratingModel)
        return model.generate(batch, model.beam if stage == "test" else 1).symbols

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[list[str], References]:
        """Return the generated and the accepted sequences as texts."""
        # Two unknown symbols need not be the same symbol: a generated one never matches <unk>.
        predictions = [next(sequences(row, self.task, unknown="?")) for row in values]
        return predictions, [list(sequences(row, self.task)) for row in targets]

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return the accepted and generated sequences, edits and number of symbols."""
        predictions, references = outcome
        pairs = zip(predictions, references, strict=True)
        nearest_answers = [nearest(prediction, accepted) for prediction, accepted in pairs]
        edit_counts = [edits(*pair) for pair in zip(predictions, nearest_answers, strict=True)]
        return {
            "target": [accepted[0] for accepted in references],
            "prediction": list(predictions),
            "also": [json.dumps(rest, ensure_ascii=False) if rest else "" for _, *rest in references],
            "errors": np.array(edit_counts, dtype=np.int64),
            "symbols": np.array([len(answer.split()) for answer in nearest_answers], dtype=np.int64),
        }


def edits(prediction: str, answer: str) -> int:
    """Return the number of insertions, deletions and substitutions of symbols between two sequences."""
    length = len(answer.split())
    if not length:
        return len(prediction.split())
    return round(float(word_error_rate(prediction, answer)) * length)


def sequences(symbols: Tensor, task: TaskSpec, unknown: str = UNKNOWN) -> Iterator[str]:
    """Yield the sequences in a row of target ids, with spaces between their symbols.

    Each sequence ends with END, which the last one may lack. A symbol that is itself a space becomes ␣.
    Subwords are joined to the text that they make up, with � for an unknown one of a target.

    Args:
        symbols: Target ids, of shape (U,), padded with IGNORE.
        task: Task with the names of the symbols.
        unknown: Text for unknown symbols.
    """
    if task.target_unit == "subword":
        unknown = "�" if unknown == UNKNOWN else unknown  # <unk> would be three words of BLEU

    def text(names: Sequence[str]) -> str:
        if task.target_unit == "subword":
            return join_tokens(names, "subwords")
        return " ".join(name.replace(" ", SPACE) for name in names)

    names: list[str] = []
    for symbol in symbols[symbols != IGNORE].tolist():
        if symbol == END:
            yield text(names)
            names = []
        else:
            name = task.target_vocabulary[symbol]
            names.append(unknown if name == UNKNOWN else name)
    if names:
        yield text(names)
