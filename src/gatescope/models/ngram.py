"""A language model of symbols: n-grams with the smoothing of Witten & Bell (1991), as dense tables."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.sequences import END


class Counts:
    """Numbers of n-grams of each order.

    Args:
        size: number of symbols V; END stands before the first and after the last symbol of a sequence.
        order: largest n.

    Attributes:
        tables: for n = 1 to the order: (V, …, V) with n axes, number of occurrences.
    """

    def __init__(self, size: int, order: int) -> None:
        self.size = size
        self.tables = [torch.zeros((size,) * n) for n in range(1, order + 1)]

    def add(self, symbols: Tensor) -> None:
        """Count the n-grams of a sequence (U,) that ends with END."""
        for n, table in enumerate(self.tables, start=1):
            padded = torch.cat([symbols.new_full((n - 1,), END), symbols])
            grams = padded.unfold(0, n, 1)
            places = sum(grams[:, k] * self.size ** (n - 1 - k) for k in range(n))
            table.view(-1).index_add_(0, torch.as_tensor(places), torch.ones(len(grams)))


def witten_bell(counts: Counts) -> Tensor:
    """Return the log probability of a symbol, the last axis, after the symbols before it.

        p_n(w | h) = (c(h w) + d(h) p_{n-1}(w | h')) / (c(h) + d(h))

    with c the number of occurrences, d(h) the number of different symbols after h, and h' the context h
    without its first symbol; p_0 is uniform, and an unseen context has p_{n-1}.
    """
    probability = torch.full((counts.size,), 1 / counts.size)
    for table in counts.tables:
        different = (table > 0).sum(-1, keepdim=True)
        total = table.sum(-1, keepdim=True)
        smoothed = (table + different * probability) / (total + different).clamp(min=1)
        probability = torch.where(total > 0, smoothed, probability.expand_as(table))
    return probability.log()
