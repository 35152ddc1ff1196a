"""Permutation of tokens within their sequence."""

from __future__ import annotations

import torch

from gatescope.instruments import token_share


def test_permutation_stays_within_a_sequence():
    ids = torch.arange(12).view(3, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    permuted = token_share.permute_within(ids, mask, 3)
    for row, kept, n in zip(permuted, ids, mask.sum(1), strict=True):
        assert sorted(row[:n].tolist()) == kept[:n].tolist()
