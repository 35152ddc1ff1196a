"""The contract between data and models: the task of a dataset, and the batch that a model reads.

This module imports torch alone, so that a cell can be used without Lightning, torchmetrics, torchtext or
wandb.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

SPACE = "␣"
"""A symbol that is a space, where symbols are separated by spaces, and where it is shown."""
IGNORE = -100
"""Target of a position that no loss and no metric counts (`ignore_index` of `torch.nn.CrossEntropyLoss`)."""
END = 0
"""Id in a target vocabulary that ends every target of a transduction; decoding starts from it."""
PADDING, UNKNOWN = "<pad>", "<unk>"
"""Vocabulary entries: the padding of a source, and any token that the train split lacks."""
Kind = Literal["classification", "regression", "next_step", "tagging", "transduction"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class TargetScale:
    """The scale on which a model learns the targets of a regression; it answers in the original unit.

    Attributes:
        mean: mean of the train targets, of their logarithms if `log`; of several outputs one for each.
        deviation: their standard deviation; of several outputs one for each.
        log: whether the model learns the logarithm.
    """

    mean: float | tuple[float, ...]
    deviation: float | tuple[float, ...]
    log: bool = False


@dataclass(frozen=True)
class TaskSpec:
    """The properties of a dataset that a model, a loss and a report need.

    Targets of a transduction are ids of `target_vocabulary`, and each target ends with END. A target may hold
    further accepted answers, each with its own END: the loss uses the first, error rates use the one nearest
    to the prediction.

    Attributes:
        kind: what is predicted: a class or real values per sequence, the next symbol (or several labels) at
            each time step, a tag of each time step, or a sequence of symbols.
        inputs: token ids, or feature vectors.
        input_size: number of token ids, or of features per time step.
        output_size: 1 for two classes (one sigmoid output), else the number of classes, of labels, or of the
            values of a regression.
        metric: the metric that studies compare, named as it is logged after "validation/" and "test/".
        direction: whether a larger ("max") or a smaller ("min") value of `metric` is better.
        labels: names of the classes, labels, tags or values of a regression; empty if they have none.
        vocabulary: the token of each id; empty if tokens have no names. Ids are then shown as numbers.
        padding_index: id of the padding token; None pads with 0.
        tolerance: a regression example counts as solved if its absolute error is below this value.
        target_vocabulary: the symbol of each target id of a transduction; entry END ends a target.
        target_unit: what one target symbol is; scores of subwords count the words that they make up.
        multilabel: each of the K outputs is an independent label; targets are zeros and ones, (K,) per
            sequence for a classification and (T, K) for next_step.
        thresholds: probability above which each label of a multilabel classification is predicted; empty for
            0.5.
        causal: targets are later inputs, so that a bidirectional model would read the answers.
        stateful: row i of a batch continues row i of the previous batch; hidden states are carried over.
        vectors: (input_size, D) pretrained embeddings of the tokens; D is then the width of the embedding.
        frozen_vectors: the pretrained embeddings are not trained.
        tokenizer: state of the tokenizer that makes tokens of a text, see
            `gatescope.data.encoding.tokenizers.restore`; empty if inputs are not made of texts, or if texts
            need other preparation, too.
        notes: facts about the data for the record (number of dropped rows, share of unknown words, …).
        input_scale: mean and deviation of each feature, by which the series of a file were standardised; None
            if the model reads features as they are.
        target_scale: the scale on which the targets of a regression are learnt; None for their own.
        image: rows and columns of the image that the features of a step are; empty if they are none.
        sound: settings of the features of recordings, see `gatescope.data.encoding.speech.SpeechFeatures`;
            empty if inputs are not made of recordings.
    """

    kind: Kind
    inputs: Literal["tokens", "features"]
    input_size: int
    output_size: int
    metric: str
    direction: Literal["max", "min"]
    labels: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    padding_index: int | None = None
    tolerance: float | None = None
    target_vocabulary: tuple[str, ...] = ()
    target_unit: Literal["character", "phoneme", "word", "subword"] = "word"
    multilabel: bool = False
    thresholds: tuple[float, ...] = ()
    causal: bool = False
    stateful: bool = False
    vectors: Tensor | None = field(default=None, repr=False, compare=False)
    frozen_vectors: bool = False
    tokenizer: Mapping[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    input_scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    target_scale: TargetScale | None = None
    image: tuple[int, ...] = ()
    sound: Mapping[str, int] = field(default_factory=dict)

    @property
    def every_step(self) -> bool:
        """Whether there is a prediction at every time step."""
        return self.kind in ("next_step", "tagging")

    @property
    def has_classes(self) -> bool:
        """Whether each sequence has one class out of several."""
        return self.kind == "classification" and not self.multilabel

    def token(self, index: int) -> str:
        """Return the token of an input id; the id itself as text if the task has no vocabulary."""
        return self.vocabulary[index] if self.vocabulary else str(index)

    def tokens(self, batch: Batch) -> list[list[str]] | None:
        """Return the tokens of each example of a batch, without padding; None if inputs are features.

        A token without a name (the task has no vocabulary) is its id.
        """
        if self.inputs == "features":
            return None
        return [
            [self.token(index) for index in row[:length]]
            for row, length in zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True)
        ]

    def token_ids(self) -> dict[str, int]:
        """Return the id of every token, with ids as text if the task has no vocabulary."""
        return {self.token(index): index for index in range(self.input_size)}


class Batch(NamedTuple):
    """Right-padded examples.

    Attributes:
        inputs: (B, T) int64 token ids, or (B, T, F) float32 features.
        lengths: (B,) int64 number of valid time steps, at least 1.
        targets: (B,), (B, K), (B, T) or (B, T, K), depending on the task.
        ids: (B,) int64 index of each example within its split.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    ids: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device; copies to a GPU are asynchronous.

        Lightning calls this method once per batch instead of searching the tuple for tensors.
        """
        blocking = torch.device(device).type in ("cpu", "mps")
        return Batch(*(part.to(device, non_blocking=not blocking) for part in self))


def valid_mask(lengths: Tensor, steps: int) -> Tensor:
    """Return a mask that is true at the valid time steps.

    Args:
        lengths: (B,) number of valid time steps.
        steps: T, number of time steps of the padded batch.

    Returns:
        (B, T) bool, true where t < length.
    """
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def first_answer(targets: Tensor) -> Tensor:
    """Return the first accepted answer of each target of a transduction.

    Args:
        targets: (B, U) target ids; each accepted answer ends with END, IGNORE is padding.

    Returns:
        (B, U') the first answer with its END, then IGNORE; U' is the length of the longest.
    """
    ends = (targets == END).long()
    kept = targets.masked_fill(ends.cumsum(1) - ends > 0, IGNORE)
    return kept[:, : int((kept != IGNORE).sum(1).max())]


def probabilities(task: TaskSpec, values: Tensor) -> Tensor:
    """Return class probabilities; a single output gives those of two classes, several labels one each.

    Shape:
        values: (…, K) logits; the result: (…, number of classes or labels).
    """
    if task.multilabel:
        return torch.sigmoid(values)
    if task.output_size == 1:
        probability = torch.sigmoid(values)
        return torch.cat([1 - probability, probability], dim=-1)
    return torch.softmax(values, dim=-1)


def predicted_labels(task: TaskSpec, values: Tensor) -> Tensor:
    """Return which labels are predicted, their probability being above the threshold.

    Shape:
        values: (…, K) logits; the result: (…, K) bool.
    """
    if not task.thresholds:
        return values > 0
    return values > torch.logit(torch.tensor(task.thresholds, dtype=values.dtype, device=values.device))
