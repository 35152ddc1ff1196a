"""Which of K outputs are active at the next step: independent Bernoulli variables, as in polyphonic music.

The negative log-likelihood is that of Boulanger-Lewandowski et al. 2012 and Chung et al. 2014: summed over
the outputs, averaged over steps, in nats. Frame-level accuracy (Bay et al. 2009) is TP / (TP + FP + FN) over
all steps; an output above one half counts as active.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection

from gatescope.sequences import IGNORE
from gatescope.training.objective import BaseObjective, Ratio, masked_mean
from gatescope.training.predictions import to_numpy


def nll(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood of each step in nats, and whether the step is scored.

    Shape:
        values: (B, T, K) logits; targets: (B, T, K) of 0, 1 and IGNORE; both results: (B, T).
    """
    scored = targets != IGNORE
    losses = F.binary_cross_entropy_with_logits(values, targets.clamp(min=0), reduction="none")
    return (losses * scored).sum(-1), scored.any(-1)


def hits(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Count the outputs that are active in both prediction and target, and those active in either.

    Shape:
        As in `nll`.
    """
    active, predicted, scored = targets == 1, values > 0, targets != IGNORE
    return (active & predicted).sum(-1), ((active | predicted) & scored).sum(-1)


class FrameAccuracy(Ratio):
    """The share `hits`, higher for better predictions."""

    higher_is_better = True


class Objective(BaseObjective):
    """Negative log-likelihood, with the metrics nll and frame_accuracy."""

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the scored steps of each sequence, of shape (B,)."""
        return masked_mean(*nll(values, targets))

    def metrics(self) -> MetricCollection:
        """Return nll and frame_accuracy."""
        return MetricCollection(
            {"nll": Ratio(nll), "frame_accuracy": FrameAccuracy(hits)}, compute_groups=False
        )

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and targets, of shape (B, T, K) each."""
        return values, targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return the numbers of scored steps, and of outputs active in both and in either."""
        steps = (targets != IGNORE).any(-1)
        both, either = hits(values, targets)
        counts = {"steps": steps, "hits": both, "either": either}
        return {name: to_numpy(part.sum(1)) for name, part in counts.items()}
