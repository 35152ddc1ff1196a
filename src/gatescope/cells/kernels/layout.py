"""Packed layout of a padded batch: valid steps only, without padding."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gatescope.cells.tensors import zero_padding


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each valid step of a batch is stored.

    Packed rows are ordered by step, and within a step by sequence, longest first. "Time-major rows" are those
    of a tensor (T + 1, B, H) with the initial state first, flattened to ((T + 1)·B, H).

    Attributes:
        steps: T.
        batch: B.
        rows: number of packed rows N, the sum of all lengths.
        offsets: first row of each step (T + 1,).
        order: sequence of each row within a step (B,).
        index: place of each packed row in (B·T) (N,); None where nothing is padded.
        before: time-major row of the state before each packed row (N,); None where nothing is padded.
        last: time-major row of the last state of each sequence (B,); None where nothing is padded.
    """

    steps: int
    batch: int
    rows: int
    offsets: Tensor
    order: Tensor
    index: Tensor | None = None
    before: Tensor | None = None
    last: Tensor | None = None

    def pack(self, values: Tensor) -> Tensor:
        """Return the valid steps of (B, T, D) as (N, D), contiguous."""
        if self.index is None:
            return values.transpose(0, 1).reshape(self.steps * self.batch, values.shape[-1])
        return values.reshape(self.batch * self.steps, values.shape[-1]).index_select(0, self.index)

    def unpack(self, packed: Tensor) -> Tensor:
        """Return (N, D) as (B, T, D), 0 at padding."""
        if self.index is None:
            return packed.unflatten(0, (self.steps, self.batch)).transpose(0, 1)
        padded = packed.new_zeros(self.batch * self.steps, packed.shape[-1])
        return padded.index_copy_(0, self.index, packed).view(self.batch, self.steps, -1)

    def previous(self, states: Tensor) -> Tensor:
        """Return the state before each packed row (N, H) from states (T + 1, B, H), initial state first."""
        if self.before is None:
            return states[:-1].flatten(0, 1)
        return states.flatten(0, 1).index_select(0, self.before)

    def last_of(self, states: Tensor) -> Tensor:
        """Return the last state of each sequence (B, H) from states (T + 1, B, H), initial state first."""
        return states[-1] if self.last is None else states.flatten(0, 1).index_select(0, self.last)


@dataclass(frozen=True, eq=False)
class PaddedLayout:
    """All steps of a batch with its padding, sequence by sequence: the layout on an accelerator.

    The lengths are not read, which would synchronise with the device. Methods are those of `Layout`.

    Attributes:
        steps: T.
        batch: B.
        lengths: (B,) on the device; None where nothing is padded.
    """

    steps: int
    batch: int
    lengths: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of rows, B·T."""
        return self.steps * self.batch

    def pack(self, values: Tensor) -> Tensor:
        """Return (B, T, D) as (B·T, D)."""
        return values.reshape(self.rows, values.shape[-1])

    def unpack(self, packed: Tensor) -> Tensor:
        """Return (B·T, D) as (B, T, D)."""
        return packed.unflatten(0, (self.batch, self.steps))

    def previous(self, states: Tensor) -> Tensor:
        """Return the state before each row (B·T, H) from states (T + 1, B, H), initial state first."""
        return self.pack(states[:-1].transpose(0, 1))

    def last_of(self, states: Tensor) -> Tensor:
        """Return the last state of each sequence (B, H) from states (T + 1, B, H), initial state first."""
        if self.lengths is None:
            return states[-1]
        return states[self.lengths, torch.arange(self.batch, device=states.device)]

    def zero_padding(self, values: Tensor) -> Tensor:
        """Return (B, T, D) with zeros at padding."""
        return zero_padding(values, self.lengths)


@lru_cache(maxsize=64)
def dense(batch: int, steps: int) -> Layout:
    """Return the layout of a batch without padding."""
    return Layout(steps, batch, steps * batch, torch.arange(steps + 1) * batch, torch.arange(batch))


_layouts: MutableMapping[Tensor, tuple[tuple[int, int], Layout]] = WeakTensorKeyDictionary()


def layout(lengths: Tensor | None, batch: int, steps: int) -> Layout:
    """Return the layout of a batch; all layers of a pass share one.

    Args:
        lengths: (B,), at most `steps` each; None where nothing is padded.
        batch: B.
        steps: T.
    """
    if lengths is None:
        return dense(batch, steps)
    if lengths.is_inference():  # inference tensors have no version counter: a change would go unnoticed
        return _padded(lengths, batch, steps)
    version = (lengths._version, steps)
    known_version, known = _layouts.get(lengths, (None, None))
    if known is None or known_version != version:
        known = _padded(lengths, batch, steps)
        _layouts[lengths] = version, known
    return known


def _padded(lengths: Tensor, batch: int, steps: int) -> Layout:
    ordered, order = lengths.cpu().sort(descending=True, stable=True)
    t, row = (torch.arange(steps)[:, None] < ordered).nonzero(as_tuple=True)
    offsets = torch.zeros(steps + 1, dtype=torch.int64)
    offsets[1:] = torch.bincount(t, minlength=steps).cumsum(0)
    sequence = order[row]
    last = lengths.cpu() * batch + torch.arange(batch)
    return Layout(steps, batch, len(t), offsets, order, sequence * steps + t, t * batch + sequence, last)
