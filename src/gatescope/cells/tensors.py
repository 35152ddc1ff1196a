"""Operations on batch-first, right-padded tensors (B, T, …)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gatescope.sequences import valid_mask

ROWS_PER_CHUNK = 1024
"""Positions (b, t) that `in_chunks` computes at once on a CPU."""


def padded_lengths(lengths: Tensor | None, steps: int) -> Tensor | None:
    """Return None where no sequence is shorter than `steps`, else `lengths` (B,).

    On an accelerator the lengths are returned unread, because reading them would synchronise. The same holds
    while a graph is compiled, which must be valid for any lengths.
    """
    if lengths is None or torch.compiler.is_compiling():
        return lengths
    if lengths.numel() == 0 or (lengths.device.type == "cpu" and int(lengths.min()) == steps):
        return None
    return lengths


def zero_padding(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Return `values` (B, T, H) with exact zeros at padding."""
    if lengths is None:
        return values
    return values.masked_fill(~valid_mask(lengths, values.shape[1])[..., None], 0)


def shift(values: Tensor, initial: Tensor) -> Tensor:
    """Return the value before each step: `initial` (B, H), then all of `values` (B, T, H) but the last."""
    return torch.cat([initial[:, None], values[:, :-1]], dim=1)


def by_step(saved: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split a dict of tensors (B, T, …) into one dict of tensors (B, …) per step."""
    unbound = [values.unbind(1) for values in saved.values()]
    return [dict(zip(saved, step, strict=True)) for step in zip(*unbound, strict=True)]


def in_chunks(compute: Callable[..., tuple[Tensor, ...]], *arguments: Tensor) -> tuple[Tensor, ...]:
    """Apply `compute` to a few sequences at a time on a CPU and concatenate the results.

    Intermediate results then fit the cache, which saves a third of the time.

    Args:
        compute: maps tensors (B, …) to tensors (B, …), each sequence independently.
        arguments: (B, T, …) the first one, (B, …) the others.
    """
    first = arguments[0]
    rows = max(1, ROWS_PER_CHUNK // first.shape[1])
    if first.device.type != "cpu" or rows >= first.shape[0]:
        return compute(*arguments)
    parts = [compute(*chunk) for chunk in zip(*(a.split(rows) for a in arguments), strict=True)]
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))


def gather_time(values: Tensor, index: Tensor) -> Tensor:
    """Select step `index[b]` of sequence b: (B, T, H), (B,) -> (B, H)."""
    return values[torch.arange(len(index), device=values.device), index]


def reverse_within(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse each sequence of x (B, T, …) within its own length; padding stays in place.

    The function is its own inverse.
    """
    if lengths is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    index = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return x.gather(1, index[..., None].expand_as(x))
