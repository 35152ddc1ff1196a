"""Kendall's rank correlation for a batch of sequences, and its variance under permutation (Kendall 1970)."""

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


def dense_ranks(values: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """Rank the values of each row, with ties among values that rounding errors could have put in any order.

    Values are sorted; two neighbours at most `noise` apart have the same rank.

    Args:
        values: (B, T).
        mask: (B, T) bool, the positions that are ranked.
        noise: (B,), largest difference that is a rounding error.

    Returns:
        (B, T) ranks 0, 1, 2, …; those outside of the mask have no meaning.
    """
    ordered, order = values.double().masked_fill(~mask, torch.inf).sort(dim=1)
    differs = torch.diff(ordered.nan_to_num(posinf=0.0), dim=1) > noise.double()[:, None]
    ranks = torch.zeros_like(ordered)
    ranks[:, 1:] = differs.double().cumsum(1)
    return torch.empty_like(ranks).scatter_(1, order, ranks)


def permuted_variance(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Return the variance of τ_b of each row over all permutations of `a`; its mean is 0.

    Args:
        a: (B, T), exactly equal where tied.
        b: (B, T), likewise.
        mask: (B, T) bool, the positions that are compared.

    Returns:
        (B,); NaN where all values of one side are equal.
    """
    n = mask.sum(1).double()
    first, second = (_tied(values, mask) for values in (a, b))
    possible = n * (n - 1)
    untied = [possible * (2 * n + 5), *(_sum(t * (2 * (t + 1) + 5), mask) for t in (first, second))]
    variance = (untied[0] - untied[1] - untied[2]) / 18
    variance += _sum(first, mask) * _sum(second, mask) / (2 * possible)
    triples = _sum(first * (first - 1), mask) * _sum(second * (second - 1), mask)
    variance += torch.where(n > 2, triples / (9 * possible * (n - 2)).clamp(min=1), 0.0)
    pairs = [(possible - _sum(t, mask)) / 2 for t in (first, second)]
    return variance / (pairs[0] * pairs[1])


def _tied(values: Tensor, mask: Tensor) -> Tensor:
    """Return for each position how many others of its row have the same value."""
    equal = (values[:, :, None] == values[:, None, :]) & mask[:, None, :]
    return equal.sum(2).double() - 1


def _sum(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(1)
