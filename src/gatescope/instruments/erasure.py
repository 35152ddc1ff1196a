"""Comprehensiveness and sufficiency of a ranking of steps (DeYoung et al. 2020), on the model's own scale.

With p(x) the probability of the class that the model predicts on x: comprehensiveness p(x) − p(x without its
top steps), sufficiency p(x) − p(the top steps alone), each averaged over `SHARES`. Such averages cannot be
compared across models (Edin et al. 2024): each model has its own least and greatest. They are therefore
placed between the least and the greatest that any ranking at hand reaches, example by example; Edin et al.
look for these limits with a beam, which would cost many times the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatescope.instruments.attribution import distribution, predict, subsequences
from gatescope.models.encoder import Encoder
from gatescope.sequences import valid_mask

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of a sequence's steps; at least one step is taken and one is left."""


@dataclass(frozen=True)
class Erased:
    """Of one ranking: `comprehensiveness` and `sufficiency` (B, SHARES)."""

    comprehensiveness: Tensor
    sufficiency: Tensor


def top(scores: Tensor, lengths: Tensor, share: float) -> Tensor:
    """(B, T) bool: the `share` of valid steps with the highest scores; of equals the earlier ones."""
    valid = valid_mask(lengths, scores.shape[1])
    count = torch.minimum((share * lengths.double()).ceil().long().clamp(min=1), lengths - 1)
    order = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(1) < count[:, None]


@torch.no_grad()
def erase(model: Encoder, inputs: Tensor, lengths: Tensor, scores: Tensor) -> Erased:
    """Of the ranking by `scores` (B, T), the highest first; every sequence has two steps or more."""
    valid = valid_mask(lengths, inputs.shape[1])
    whole = distribution(model.task, predict(model, inputs, lengths))
    chosen = whole.argmax(-1, keepdim=True)
    found: list[list[Tensor]] = [[], []]
    for share in SHARES:
        taken = top(scores, lengths, share)
        for column, keep in zip(found, (valid & ~taken, taken), strict=True):
            part = distribution(model.task, predict(model, *subsequences(inputs, keep)))
            column.append((whole - part).gather(1, chosen)[:, 0])
    return Erased(*(torch.stack(column, 1) for column in found))


def placed(values: dict[str, Tensor], best: str) -> dict[str, float]:
    """Mean over shares and examples of each ranking's (B, SHARES), between the limits of all of them.

    1 is the good end. Empty where no ranking matters.

    Args:
        best: "max" where a high value is good (comprehensiveness), "min" where a low one is (sufficiency).
    """
    areas = {name: value.double().mean(1) for name, value in values.items()}
    every = torch.stack(list(areas.values()))
    low, high = every.amin(0).mean(), every.amax(0).mean()
    if not high - low > 0:
        return {}
    share = {name: ((area.mean() - low) / (high - low)).item() for name, area in areas.items()}
    return share if best == "max" else {name: 1 - value for name, value in share.items()}
