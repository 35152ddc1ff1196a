"""Eigenvalues and eigenvectors of Jacobians at fixed points, the slowest mode first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Modes:
    """The modes of the linearised dynamics at P points, the slowest (|λ| nearest to 1) first.

    Attributes:
        values: (P, n) complex, the eigenvalues λ.
        right: (P, n, n) complex; column k is the right eigenvector of mode k, of norm 1.
        left: (P, n, n) complex; row k is the left eigenvector of mode k, with left · right = 1.
    """

    values: Tensor
    right: Tensor
    left: Tensor

    @property
    def time_constants(self) -> Tensor:
        """(P, n): τ = |1 / ln|λ|| in steps, of modes that decay and of modes that grow."""
        return time_constants(self.values)

    @property
    def stable(self) -> Tensor:
        """(P,) bool: whether every mode decays."""
        return self.values.abs().amax(-1) < 1

    def projector(self, count: int) -> Tensor:
        """Return the projector (P, n, n) onto the `count` slowest modes, along all others."""
        return (self.right[..., :count] @ self.left[:, :count]).real

    def alignment(self, vectors: Tensor, count: int) -> Tensor:
        """Return the share of vectors' norm in the span of the slowest left eigenvectors.

        For one mode and one vector it is the absolute cosine between them.

        Args:
            vectors: (P, m, n).
            count: number of modes.

        Returns:
            (P,), 0 to 1.
        """
        slow = self.left[:, :count]
        basis = torch.linalg.svd(torch.cat([slow.real, slow.imag], dim=1), full_matrices=False)
        rank = 1e-8 * basis.S[:, :1] < basis.S
        inside = (vectors @ basis.Vh.mT) * rank[:, None]
        return inside.norm(dim=(1, 2)) / vectors.norm(dim=(1, 2))


def time_constants(values: Tensor) -> Tensor:
    """Return τ = |1 / ln|λ|| of eigenvalues: 0 for λ = 0, infinite for |λ| = 1."""
    return (1 / values.abs().log()).abs()


def modes(jacobians: Tensor) -> Modes:
    """Decompose Jacobians (P, n, n).

    Left eigenvectors are the rows of the pseudo-inverse of the matrix of right ones, which also exists where
    eigenvectors coincide.
    """
    values, right = torch.linalg.eig(jacobians)
    order = values.abs().log().abs().argsort(dim=-1, stable=True)
    values = values.gather(-1, order)
    right = right.gather(-1, order[:, None].expand_as(right))
    return Modes(values, right, torch.linalg.pinv(right))
