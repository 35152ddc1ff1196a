"""Principal components of states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Principal:
    """Principal components of states (N, n).

    Attributes:
        mean: (n,).
        axes: (n, n) or (N, n); rows of norm 1, the one with the most variance first.
        variances: variance along each axis.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor

    @property
    def cumulative_share(self) -> Tensor:
        """Share of the variance in the first 1, 2, 3, … axes."""
        return self.variances.cumsum(0) / self.variances.sum()

    def coordinates(self, states: Tensor, count: int = 2) -> Tensor:
        """Return the coordinates (…, count) of states (…, n) along the first axes, 0 on missing ones."""
        axes = self.axes[:count]
        found = (states - self.mean) @ axes.T
        return torch.nn.functional.pad(found, (0, count - len(axes)))


def principal(states: Tensor, towards: Tensor | None = None) -> Principal:
    """Compute the principal components of states (N, n).

    Args:
        states: (N, n), float64.
        towards: (n,), a direction: the first axis gets the sign that points to its side.
    """
    mean = states.mean(0)
    _, singular, axes = torch.linalg.svd(states - mean, full_matrices=False)
    if towards is not None and float(axes[0] @ towards) < 0:
        axes = torch.cat([-axes[:1], axes[1:]])
    return Principal(mean, axes, singular.square() / len(states))
