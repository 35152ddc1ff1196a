"""Predictions without some steps of the input, without one state, or with other attention weights.

Source of leave-one-out: Jain & Wallace 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gatescope.instruments.attribution import predict_embedded
from gatescope.models.encoder import Encoder
from gatescope.sequences import valid_mask

MAX_STEPS = 65_536
"""Largest number of steps (sequences × length) of one forward pass."""


@torch.no_grad()
def predict(model: Encoder, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Return the values (N, K) of any number of sequences, run in batches of similar length.

    Args:
        model: the model, in eval mode.
        inputs: (N, T) ids or (N, T, F) features.
        lengths: (N,).
    """
    order = lengths.argsort()
    parts = [
        predict_embedded(model, model.embed(inputs[rows, : int(lengths[rows].max())]), lengths[rows])
        for rows in _batches(order, lengths)
    ]
    values = torch.cat(parts)
    return torch.empty_like(values).index_copy_(0, order, values)


def _batches(order: Tensor, lengths: Tensor) -> Iterator[Tensor]:
    """Split rows in order of length into batches of at most MAX_STEPS steps, padding included."""
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, MAX_STEPS // int(lengths[order[start]]))]
        rows = rows[: max(1, MAX_STEPS // int(lengths[rows[-1]]))]
        yield rows
        start += len(rows)


def subsequences(inputs: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Remove steps from sequences; the remaining steps move together in their order.

    Args:
        inputs: (N, T) ids or (N, T, F) features.
        keep: (N, T) bool, true for the steps that remain.

    Returns:
        The remaining steps (N, T', …) and their number (N,). Values after the last remaining step have no
        meaning.
    """
    lengths = keep.sum(1)
    order = (~keep).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(lengths.max())]
    index = order.reshape(*order.shape, *(1,) * (inputs.dim() - 2)).expand(*order.shape, *inputs.shape[2:])
    return inputs.gather(1, index), lengths


@torch.no_grad()
def leave_one_out(model: Encoder, inputs: Tensor, lengths: Tensor, subset: Tensor) -> Tensor:
    """Return the values of the head for each sequence without step t.

    The step is removed and the others move together. A sequence of one step cannot lose it.

    Args:
        model: the model, in eval mode.
        inputs: (B, T) ids or (B, T, F) features.
        lengths: (B,).
        subset: (B, T) bool, the steps that are left out one by one.

    Returns:
        (B, T, K); NaN for steps that are not left out.
    """
    valid = valid_mask(lengths, inputs.shape[1])
    rows, steps = (subset & valid & (lengths > 1)[:, None]).nonzero(as_tuple=True)
    width = model.task.output_size
    values = torch.full((*inputs.shape[:2], width), torch.nan, device=inputs.device)
    if len(rows):
        keep = valid[rows]
        keep[torch.arange(len(rows), device=keep.device), steps] = False
        values[rows, steps] = predict(model, *subsequences(inputs[rows], keep)).to(values.dtype)
    return values


@torch.no_grad()
def leave_state_out(model: Encoder, states: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """Return the values of the head when attention gives state t no weight.

    The weights of the other states are scaled to sum to 1.

    Args:
        model: a model with attention, in eval mode.
        states: (B, T, S), states of the top layer.
        weights: (B, heads, T), attention weights.
        lengths: (B,).

    Returns:
        (B, T, K); NaN where all weight is on state t, and at padding.
    """
    valid = valid_mask(lengths, states.shape[1])
    steps = states.shape[1]
    others = weights[:, :, None, :] * (1 - torch.eye(steps, device=states.device))
    remaining = others.sum(-1, keepdim=True)
    values = predict_with_weights(model, states, others / remaining)
    return values.masked_fill((~valid | (remaining[..., 0] <= 0).any(1))[..., None], torch.nan)


@torch.no_grad()
def predict_with_weights(model: Encoder, states: Tensor, weights: Tensor) -> Tensor:
    """Return the values (B, N, K) of the head with other attention weights.

    Args:
        model: a model with attention, in eval mode.
        states: (B, T, S), states of the top layer.
        weights: (B, heads, N, T), N alternatives to the model's own weights.
    """
    batch, heads, count, steps = weights.shape
    split = states.reshape(batch, steps, heads, -1)
    context = torch.einsum("bhnt,bthd->bnhd", weights, split).reshape(batch, count, -1)
    values: Tensor = model.head(context)
    return values
