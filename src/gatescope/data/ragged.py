"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Ragged(Sequence[Tensor]):
    """Sequences of unlike length in one tensor: item i is a view (T_i, …).

    One tensor, because a spawned loader worker receives each tensor by a file descriptor of its own, and
    a process has fewer of those than a corpus has texts.
    """

    def __init__(self, sequences: Sequence[Tensor]) -> None:
        flat = torch.cat(list(sequences)) if len(sequences) else torch.empty(0)
        self._hold(flat, np.array([len(x) for x in sequences], dtype=np.int64))

    @classmethod
    def of(cls, flat: Tensor, lengths: np.ndarray) -> Ragged:
        """From what is in one tensor already, (sum of T_i, …), with the lengths (N,) of its items."""
        ragged = cls.__new__(cls)
        ragged._hold(flat, lengths.astype(np.int64))
        return ragged

    def _hold(self, flat: Tensor, lengths: np.ndarray) -> None:
        self.flat, self.lengths, self._ends = flat, lengths, np.cumsum(lengths)
        all_alike = len(lengths) > 0 and bool((lengths == lengths[0]).all())
        self._length = int(lengths[0]) if all_alike else None

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

    def chosen(self, items: np.ndarray) -> Ragged:
        """The items of these indices, in their order."""
        lengths = self.lengths[items]
        starts = self._ends[items] - lengths
        places = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return Ragged.of(self.flat.index_select(0, torch.from_numpy(places)), lengths)

    def padded(self, items: Tensor, padding_value: float) -> Tensor:
        """(B, longest of them, …): the items of these indices (B,), right-padded."""
        if self._length is not None:
            return self.flat.unflatten(0, (len(self), self._length)).index_select(0, items)
        lengths = self.lengths[items.numpy()]
        if lengths.min() < lengths.max():
            given = [self[i] for i in items.tolist()]
            return pad_sequence(given, batch_first=True, padding_value=padding_value)
        return self.chosen(items.numpy()).flat.unflatten(0, (len(items), int(lengths[0])))

    def rows(self, flagged: Tensor) -> list[int]:
        """The items that hold a flagged element: `flagged` (sum of T_i,) bool -> indices, ascending."""
        positions = flagged.nonzero()[:, 0].numpy()
        return np.unique(np.searchsorted(self._ends, positions, side="right")).tolist()
