"""Which of K outputs are on at the next step: independent Bernoulli variables, as in polyphonic music.

NLL as Boulanger-Lewandowski et al. 2012 and Chung et al. 2014 report it: summed over the outputs, averaged
over steps, in nats. Frame-level accuracy (Bay et al. 2009): TP / (TP + FP + FN) over all steps, an output
counting as on above one half.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection

from gatescope.sequences import IGNORE
from gatescope.training.objective import BaseObjective, Ratio, masked_mean
from gatescope.training.predictions import array


def nll(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, K) logits, (B, T, K) zeros, ones and IGNORE -> nats, and which steps count, (B, T) each."""
    counted = targets != IGNORE
    losses = F.binary_cross_entropy_with_logits(values, targets.clamp(min=0), reduction="none")
    return (losses * counted).sum(-1), counted.any(-1)


def hits(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs that are on in both, and those that are in either, (B, T) each."""
    on, named, counted = targets == 1, values > 0, targets != IGNORE
    return (on & named).sum(-1), ((on | named) & counted).sum(-1)


class Objective(BaseObjective):
    """Metrics: nll, and frame_accuracy."""

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        return masked_mean(*nll(values, targets))

    def metrics(self) -> MetricCollection:
        return MetricCollection({"nll": Ratio(nll), "frame_accuracy": Ratio(hits)}, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return values, targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        steps = (targets != IGNORE).any(-1)
        both, either = hits(values, targets)
        counts = {"steps": steps, "hits": both, "either": either}
        return {name: array(part.sum(1)) for name, part in counts.items()}
