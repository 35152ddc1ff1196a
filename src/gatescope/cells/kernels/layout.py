"""Where a batch's valid steps lie for the native walk: one after the other, without padding."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True, eq=False)
class Layout:
    """Packed row n of N = Σ lengths is one sequence at one step: step by step, longest sequence first.

    `rows`: N. `offsets` (T + 1,): where each step starts. `order` (B,): the sequence of each row of a step.
    `index` (N,): each row's place in (B·T), and `before` (N,): that of the state before it in (T + 1)·B
    time-major rows, as `last` (B,) is of each sequence's last state; None where nothing is padded, and every
    place is known.
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
        """(B, T, D) -> (N, D), contiguous."""
        if self.index is None:
            return values.transpose(0, 1).reshape(self.steps * self.batch, values.shape[-1])
        return values.reshape(self.batch * self.steps, values.shape[-1]).index_select(0, self.index)

    def unpack(self, packed: Tensor) -> Tensor:
        """(N, D) -> (B, T, D), 0 at padding."""
        if self.index is None:
            return packed.unflatten(0, (self.steps, self.batch)).transpose(0, 1)
        padded = packed.new_zeros(self.batch * self.steps, packed.shape[-1])
        return padded.index_copy_(0, self.index, packed).view(self.batch, self.steps, -1)

    def previous(self, states: Tensor) -> Tensor:
        """(T + 1, B, H), initial state first -> (N, H): the state before each packed row."""
        if self.before is None:
            return states[:-1].flatten(0, 1)
        return states.flatten(0, 1).index_select(0, self.before)

    def last_of(self, states: Tensor) -> Tensor:
        """(T + 1, B, H), initial state first -> (B, H): each sequence's last."""
        return states[-1] if self.last is None else states.flatten(0, 1).index_select(0, self.last)


@lru_cache(maxsize=64)
def dense(batch: int, steps: int) -> Layout:
    return Layout(steps, batch, steps * batch, torch.arange(steps + 1) * batch, torch.arange(batch))


_known: MutableMapping[Tensor, tuple[tuple[int, int], Layout]] = WeakTensorKeyDictionary()


def layout(lengths: Tensor | None, batch: int, steps: int) -> Layout:
    """Of (B,) lengths up to `steps`; None: nothing is padded. Made once for all layers of a pass."""
    if lengths is None:
        return dense(batch, steps)
    if lengths.is_inference():  # such a tensor does not tell whether it has changed
        return _packed(lengths, batch, steps)
    state = (lengths._version, steps)
    kept, found = _known.get(lengths, (None, None))
    if found is None or kept != state:
        found = _packed(lengths, batch, steps)
        _known[lengths] = state, found
    return found


def _packed(lengths: Tensor, batch: int, steps: int) -> Layout:
    ordered, order = lengths.cpu().sort(descending=True, stable=True)
    t, row = (torch.arange(steps)[:, None] < ordered).nonzero(as_tuple=True)
    offsets = torch.zeros(steps + 1, dtype=torch.int64)
    offsets[1:] = torch.bincount(t, minlength=steps).cumsum(0)
    sequence = order[row]
    last = lengths.cpu() * batch + torch.arange(batch)
    return Layout(steps, batch, len(t), offsets, order, sequence * steps + t, t * batch + sequence, last)
