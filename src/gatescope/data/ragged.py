"""Sequences of different lengths, stored in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Ragged(Sequence[Tensor]):
    """Sequences of different lengths in one tensor; item i is a view (T_i, …).

    One tensor is used because a spawned loader worker receives every tensor through a file descriptor of its
    own, and a process may open fewer descriptors than a corpus has texts.

    Args:
        sequences: N tensors (T_i, …) that agree in all but the first dimension.

    Attributes:
        flat: (sum of T_i, …) the concatenated sequences.
        lengths: (N,) int64 T_i.
    """

    flat: Tensor
    lengths: np.ndarray

    def __init__(self, sequences: Sequence[Tensor]) -> None:
        flat = torch.cat(list(sequences)) if len(sequences) else torch.empty(0)
        self._set(flat, np.array([len(x) for x in sequences], dtype=np.int64))

    @classmethod
    def from_flat(cls, flat: Tensor, lengths: np.ndarray) -> Ragged:
        """Build from a tensor that is concatenated already.

        Args:
            flat: (sum of T_i, …) the concatenated sequences.
            lengths: (N,) the length of each sequence.
        """
        ragged = cls.__new__(cls)
        ragged._set(flat, lengths.astype(np.int64))
        return ragged

    def _set(self, flat: Tensor, lengths: np.ndarray) -> None:
        self.flat, self.lengths, self._ends = flat, lengths, np.cumsum(lengths)
        same_length = len(lengths) > 0 and bool((lengths == lengths[0]).all())
        self._common_length = int(lengths[0]) if same_length else None

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Ragged: ...
    def __getitem__(self, index: int | slice) -> Tensor | Ragged:
        if isinstance(index, slice):
            return Ragged([self[i] for i in range(*index.indices(len(self)))])
        end = int(self._ends[index])
        return self.flat[end - int(self.lengths[index]) : end]

    def subset(self, indices: np.ndarray) -> Ragged:
        """Return the sequences with these indices (M,), in this order."""
        lengths = self.lengths[indices]
        positions = ranges(self._ends[indices] - lengths, lengths)
        return Ragged.from_flat(self.flat.index_select(0, torch.from_numpy(positions)), lengths)

    def padded(self, indices: Tensor, padding_value: float) -> Tensor:
        """Return the sequences with these indices, right-padded.

        Args:
            indices: (B,) indices of the sequences.
            padding_value: value of the padding.

        Returns:
            (B, T, …), where T is the length of the longest.
        """
        if self._common_length is not None:
            return self.flat.unflatten(0, (len(self), self._common_length)).index_select(0, indices)
        lengths = self.lengths[indices.numpy()]
        if lengths.min() < lengths.max():
            sequences = [self[i] for i in indices.tolist()]
            return pad_sequence(sequences, batch_first=True, padding_value=padding_value)
        return self.subset(indices.numpy()).flat.unflatten(0, (len(indices), int(lengths[0])))

    def containing(self, flags: Tensor) -> list[int]:
        """Return the sequences with a flagged element.

        Args:
            flags: (sum of T_i,) bool, a flag for each element of `flat`.

        Returns:
            Indices of the sequences, ascending.
        """
        positions = flags.nonzero()[:, 0].numpy()
        return np.unique(np.searchsorted(self._ends, positions, side="right")).tolist()


CHUNK_VALUES = 1 << 19
"""Number of values in a chunk, 4 MB in float64."""


def chunks(flat: Tensor) -> Sequence[Tensor]:
    """Return views (m, …) of a tensor (M, …), small enough to be computed with in float64."""
    return flat.split(max(1, CHUNK_VALUES // max(1, flat[:1].numel())))


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate the ranges [start, start + length).

    Args:
        starts: (N,) first value of each range.
        lengths: (N,) number of values of each range.

    Returns:
        (sum of lengths,) the values of all ranges, one range after the other.
    """
    return np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
