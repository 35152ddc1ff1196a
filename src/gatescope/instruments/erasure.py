"""Comprehensiveness and sufficiency of a ranking of steps, normalised for each model.

With p(x) the probability of the class that the model predicts for x:

- comprehensiveness = p(x) − p(x without its top steps): large where the top steps matter;
- sufficiency = p(x) − p(the top steps alone): small where the top steps are enough.

Both are averaged over the shares of steps in `SHARES` (DeYoung et al. 2020). The averages cannot be compared
across models, because each model has its own smallest and largest value (Edin et al. 2024). They are
therefore normalised, for each example, to the range of all rankings that are computed here. Edin et al.
estimate that range with a beam search, which would cost many times as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatescope.instruments.ablation import predict, subsequences
from gatescope.instruments.attribution import distribution
from gatescope.instruments.measurements import Curve, Measurement, Measurements, Undefined, scalar
from gatescope.models.encoder import Encoder
from gatescope.sequences import valid_mask

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the steps that are removed or kept; always at least one step, and never all."""


@dataclass(frozen=True)
class Erasure:
    """The change of probability for one ranking.

    Attributes:
        comprehensiveness: (B, SHARES).
        sufficiency: (B, SHARES).
    """

    comprehensiveness: Tensor
    sufficiency: Tensor


def top(scores: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Select the share of valid steps with the highest scores; of equal scores the earlier steps.

    Args:
        scores: (B, T).
        lengths: (B,).
        share: share of the steps, 0 to 1.

    Returns:
        (B, T) bool.
    """
    valid = valid_mask(lengths, scores.shape[1])
    count = torch.minimum((share * lengths.double()).ceil().long().clamp(min=1), lengths - 1)
    order = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(1) < count[:, None]


@torch.no_grad()
def erase(model: Encoder, inputs: Tensor, lengths: Tensor, scores: Tensor) -> Erasure:
    """Compute comprehensiveness and sufficiency of a ranking, the highest score first.

    Args:
        model: a classifier, in eval mode.
        inputs: (B, T) ids or (B, T, F) features.
        lengths: (B,), at least 2 each.
        scores: (B, T).
    """
    valid = valid_mask(lengths, inputs.shape[1])
    whole = distribution(model.task, predict(model, inputs, lengths))
    predicted = whole.argmax(-1, keepdim=True)
    comprehensiveness: list[Tensor] = []
    sufficiency: list[Tensor] = []
    for share in SHARES:
        removed = top(scores, lengths, share)
        for changes, keep in ((comprehensiveness, valid & ~removed), (sufficiency, removed)):
            part = distribution(model.task, predict(model, *subsequences(inputs, keep)))
            changes.append((whole - part).gather(1, predicted)[:, 0])
    return Erasure(torch.stack(comprehensiveness, 1), torch.stack(sufficiency, 1))


def normalised(values: dict[str, Tensor], best: str) -> dict[str, float]:
    """Normalise the mean of each ranking to the range of all rankings; 1 is the best.

    Args:
        values: (B, SHARES) by ranking.
        best: "max" where a high value is good (comprehensiveness), "min" where a low one is (sufficiency).

    Returns:
        A number from 0 to 1 by ranking; empty where all rankings are equal.
    """
    areas = {name: value.double().mean(1) for name, value in values.items()}
    stacked = torch.stack(list(areas.values()))
    low, high = stacked.amin(0).mean(), stacked.amax(0).mean()
    if not high - low > 0:
        return {}
    share = {name: ((area.mean() - low) / (high - low)).item() for name, area in areas.items()}
    return share if best == "max" else {name: 1 - value for name, value in share.items()}


def erasure_measurements(
    kind: str, values: dict[str, Tensor], best: str, rankings: list[str]
) -> Measurements:
    """Return the normalised mean and the curve of each ranking, and of the mean of all random rankings.

    Args:
        kind: "comprehensiveness" or "sufficiency".
        values: (B, SHARES) by ranking; the names of random rankings begin with "random ".
        best: "max" or "min", as in `normalised`.
        rankings: names of the rankings that are reported besides the random ones.
    """
    shares = normalised(values, best)
    random = [name for name in values if name.startswith("random ")]
    groups = {name: [name] for name in rankings} | {"random": random}
    measurements: Measurements = {}
    for ranking, members in groups.items():
        number: Measurement = Undefined("no ranking changes the prediction: there is no scale")
        if shares:
            number = scalar(sum(shares[name] for name in members) / len(members))
        mean = torch.stack([values[name].double().mean(0) for name in members]).mean(0)
        measurements[f"{kind}/{ranking}"] = number
        measurements[f"{kind}/{ranking}/curve"] = Curve(
            [100 * share for share in SHARES],
            mean.tolist(),
            "steps by rank (%)",
            f"{kind}: change of the predicted class's probability",
        )
    return measurements
