"""Gradient clipping, and the loss of a batch that is distributed over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gatescope.startup import workarounds_enabled


def clip_grad_norm(parameters: Sequence[nn.Parameter], bound: float) -> tuple[Tensor, Tensor | bool]:
    """Clip gradients as `torch.nn.utils.clip_grad_norm_` does.

    On a CPU, gradients that are within the bound are not multiplied by 1, which costs more than the norm
    itself.

    Args:
        parameters: Parameters whose gradients are clipped.
        bound: Largest norm of all gradients together.

    Returns:
        The norm before clipping, of shape (), and whether it exceeded the bound.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if workarounds_enabled() and gradients and all(g.device.type == "cpu" for g in gradients):
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        if norm.item() <= bound:
            return norm, False
    norm = nn.utils.clip_grad_norm_(parameters, bound)
    return norm, norm > bound


def max_abs_grad(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the largest absolute value of any gradient, of shape ()."""
    return torch.stack([p.grad.abs().max() for p in parameters if p.grad is not None]).max()


def global_mean(losses: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return the mean loss of a batch whose examples are distributed over ranks.

    DDP averages gradients over ranks, whose shares of a batch may differ in size. The loss of this rank is
    scaled such that the average gradient is that of the global mean.

    Args:
        losses: Losses of this rank's examples, of shape (B_rank,).

    Returns:
        The loss that this rank minimises, of shape (); the mean over the global batch, of shape (), without
        gradient; and the number of examples of the global batch.
    """
    totals = torch.stack([losses.detach().sum(), losses.new_tensor(len(losses))]).double()
    torch.distributed.all_reduce(totals)
    examples = totals[1].to(losses.dtype)
    rank_loss = losses.sum() * torch.distributed.get_world_size() / examples
    return rank_loss, (totals[0] / totals[1]).to(losses.dtype), int(examples)
