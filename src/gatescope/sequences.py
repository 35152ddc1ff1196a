"""The contract between data and models: what a task is, and what a batch holds.

Imports torch alone, so that a cell can be used without Lightning, torchmetrics, torchtext or wandb.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

IGNORE = -100
"""Target of a position that no loss and no metric counts (torch's own `ignore_index`)."""
END = 0
"""Symbol of a target vocabulary that ends every target of a transduction, and that decoding starts from."""
Kind = Literal["classification", "regression", "next_step", "transduction"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class TaskSpec:
    """All that a model, a loss and a report need to know of a dataset.

    `input_size` is the number of token ids (inputs "tokens") or of features ("features").
    `output_size` is 1 for a regression target and for two classes (one sigmoid output), else the number
    of classes. `metric` with `direction` is what a study compares on, named as it is logged after
    "validation/" and "test/". `tolerance`: a regression example counts as solved below this |error|.

    Targets of a transduction are ids of `target_vocabulary`, whose entry END ends each; `output_size` is its
    size, and `target_unit` what one symbol is. A target may go on with further accepted answers, each with
    its END: the loss counts the first, error rates the one nearest to the prediction.

    `vectors` (input_size, D): pretrained embeddings of the tokens, which fix the width of the embedding;
    `frozen_vectors`: they are not trained.
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
    target_unit: Literal["character", "phoneme", "word"] = "word"
    multilabel: bool = False
    """Any number of the outputs is right at once: targets are zeros and ones, (T, K) a sequence."""
    causal: bool = False
    """Targets are later inputs: a model that reads backwards would be told the answers."""
    stateful: bool = False
    """Row i of a batch goes on where row i of the batch before it ended: states are carried over."""
    vectors: Tensor | None = field(default=None, repr=False, compare=False)
    frozen_vectors: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    """Facts of the data worth keeping in the record (rows dropped, share of unknown words …)."""


class Batch(NamedTuple):
    """inputs (B, T) int64 or (B, T, F) float32, right-padded; lengths (B,) int64, at least 1; targets (B,),
    (B, K) or (B, T); ids (B,) int64, the example's index within its split."""

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    ids: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Lightning moves in one call what has such a method, and else looks into it for tensors."""
        waits = torch.device(device).type in ("cpu", "mps")
        return Batch(*(part.to(device, non_blocking=not waits) for part in self))


def valid_mask(lengths: Tensor, steps: int) -> Tensor:
    """(B,) -> (B, T) bool, true where t < length. The one place a mask is made."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]
