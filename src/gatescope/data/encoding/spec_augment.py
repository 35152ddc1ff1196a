"""SpecAugment (Park et al. 2019): bands and periods of training recordings are replaced by their mean, 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.sequences import Batch

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class SpecAugment:
    """Masks of time and frequency, drawn anew for each recording of each batch.

    Args:
        time_masks: number of masked periods.
        time_width: largest number of steps of a period; it is no longer than a fifth of the recording.
        band_masks: number of masked ranges of mel bands.
        band_width: largest number of bands of a range.
        mels: number of mel bands; a step may have several windows.
    """

    time_masks: int
    time_width: int
    band_masks: int
    band_width: int
    mels: int

    def __call__(self, batch: Batch) -> Batch:
        """Return a batch with masked features; random numbers are those of torch."""
        steps, features = batch.inputs.shape[1:]
        kept = torch.ones_like(batch.inputs, dtype=torch.bool)
        for _ in range(self.time_masks):
            longest = (batch.lengths // 5).clamp(max=self.time_width)
            kept &= ~_ranges(longest, batch.lengths, steps)[:, :, None]
        for _ in range(self.band_masks):
            size = torch.full_like(batch.lengths, self.mels)
            bands = _ranges(size.clamp(max=self.band_width), size, self.mels)
            kept &= ~bands.repeat(1, features // self.mels)[:, None]
        return batch._replace(inputs=batch.inputs * kept)


def _ranges(longest: Tensor, size: Tensor, count: int) -> Tensor:
    """Return (B, count) bool, true in one random range of each row.

    Args:
        longest: (B,), largest length of the range.
        size: (B,), the range is within the first so many places.
        count: number of places.
    """
    length = (torch.rand(len(size), device=size.device) * (longest + 1)).long()
    start = (torch.rand(len(size), device=size.device) * (size - length + 1)).long()
    places = torch.arange(count, device=size.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])
