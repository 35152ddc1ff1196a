"""The share of a gate's variance that the tokens explain."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.instruments.measurements import Scalar, Undefined, scalar


def permute_within(ids: Tensor, mask: Tensor, seed: int) -> Tensor:
    """Permute the valid tokens of each sequence (B, T) at random.

    Args:
        ids: (B, T), token ids.
        mask: (B, T) bool, true at valid positions.
        seed: seed of the permutation.
    """
    noise = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)).to(ids.device)
    return ids.gather(1, noise.masked_fill(~mask, 2.0).argsort(1))


def explained_share(values: Tensor, ids: Tensor) -> Scalar | Undefined:
    """Return η²: the variance between tokens over the total variance, both summed over hidden units.

    Args:
        values: (N, H).
        ids: (N,), the token at each position.
    """
    _, group = ids.unique(return_inverse=True)
    counts = torch.bincount(group).double()
    centred = (values - values.mean(0)).double()
    total = centred.square().sum().item()
    # The mean of equal values may differ from them in the last digits.
    rounding = 4 * torch.finfo(values.dtype).eps * values.abs().max().item()
    if total <= values.numel() * rounding**2:
        return Undefined("the gate does not vary")
    sums = centred.new_zeros(len(counts), values.shape[1]).index_add_(0, group, centred)
    return scalar((sums.square().sum(1) / counts).sum().item() / total)
