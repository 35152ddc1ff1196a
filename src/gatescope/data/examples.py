"""The examples of a split, and the function that makes a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gatescope.data.errors import DataError
from gatescope.data.ragged import Ragged
from gatescope.sequences import IGNORE, Batch, TaskSpec


@dataclass
class Examples(Dataset[int]):
    """The N examples of one split.

    Args:
        inputs: N token sequences (T_i,) int64, or feature sequences (T_i, F) float32.
        targets: (N,) or (N, K), or N sequences (T_i,), (T_i, K) or (U_i,).
        uncut: (N,) int64 lengths before long sequences were cut; None if none are ever cut.

    Attributes:
        lengths: (N,) int64 T_i.
    """

    inputs: Sequence[Tensor]
    targets: Tensor | Sequence[Tensor]
    uncut: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")
        self.inputs = self.inputs if isinstance(self.inputs, Ragged) else Ragged(self.inputs)
        if not isinstance(self.targets, Tensor | Ragged):
            self.targets = Ragged(self.targets)
        self.lengths = self.inputs.lengths

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> int:
        return index

    def __getitems__(self, indices: list[int]) -> list[int]:
        """Return the indices of a batch: `collate` reads the examples themselves."""
        return indices


@dataclass
class Splits:
    """The three splits of a dataset and its task."""

    train: Examples
    validation: Examples
    test: Examples
    task: TaskSpec


def collate(examples: Examples, indices: Sequence[int], padding_value: float = 0) -> Batch:
    """Make a right-padded batch.

    Args:
        examples: the split.
        indices: indices of the examples, in the order of the batch.
        padding_value: padding of the inputs; targets are padded with IGNORE.
    """
    ids = torch.tensor(indices)
    assert isinstance(examples.inputs, Ragged)
    inputs = examples.inputs.padded(ids, padding_value)
    lengths = torch.from_numpy(examples.lengths[ids.numpy()])
    if isinstance(examples.targets, Tensor):
        targets = examples.targets.index_select(0, ids)
    else:
        assert isinstance(examples.targets, Ragged)
        targets = examples.targets.padded(ids, IGNORE)
    return Batch(inputs, lengths, targets, ids)


class Collate:
    """`collate` for one split, as an object that a spawned loader worker can unpickle."""

    def __init__(self, examples: Examples, padding_value: float) -> None:
        self.examples, self.padding_value = examples, padding_value

    def __call__(self, indices: Sequence[int]) -> Batch:
        """Return the batch of these examples."""
        return collate(self.examples, indices, self.padding_value)
