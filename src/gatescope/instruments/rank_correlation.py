"""Kendall's rank correlation for a batch of sequences (Kendall 1938)."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_PAIRS = 2**20
"""Largest number of pairs (sequences × length²) that are compared at once."""


def kendall_tau(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Compute Kendall's τ_b of each row.

    Args:
        a: (B, T).
        b: (B, T).
        mask: (B, T) bool, the positions that are compared.

    Returns:
        (B,), from -1 to 1; NaN where all values of one side are equal.
    """
    rows = max(1, MAX_PAIRS // max(1, a.shape[1] ** 2))
    blocks = zip(*(v.split(rows) for v in (a.double(), b.double(), mask)), strict=True)
    return torch.cat([_tau_b(*block) for block in blocks])


def _tau_b(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    pairs = (mask[:, :, None] & mask[:, None, :]).double()
    # NaN occurs only where the mask is false.
    x, y = (torch.sign(v[:, :, None] - v[:, None, :]).nan_to_num() * pairs for v in (a, b))
    return (x * y).sum((1, 2)) / (x.square().sum((1, 2)) * y.square().sum((1, 2))).sqrt()


def null_spread(n: Tensor) -> Tensor:
    """Return the standard deviation √(2(2n+5) / (9n(n−1))) of Kendall's τ of n independent values."""
    n = n.double()
    return ((2 * (2 * n + 5)) / (9 * n * (n - 1))).sqrt()
