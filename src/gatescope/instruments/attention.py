"""Where attention looks (INSTRUMENTS.md §5): entropy, effective length, distance from the query."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.instruments.probe import Probe
from gatescope.sequences import IGNORE, first_answer


class AttentionStatistics(ProbeInstrument):
    """`attention/entropy`, `attention/effective_length`, and where the last state asks `attention/distance`;
    nothing without attention. A decoder's target steps, the first answer's, count as one sequence each."""

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        if probe.attention is None:
            return {}
        weights, lengths = probe.attention, probe.batch.lengths
        by_decoder = weights.dim() == 4
        if by_decoder:
            asked = first_answer(probe.batch.targets) != IGNORE
            weights, lengths = weights[asked], lengths[:, None].expand_as(asked)[asked]
        measurements: Measurements = {
            "attention/entropy": relative_entropy(weights, lengths),
            "attention/effective_length": scalar(entropy(weights).exp().mean().item(), "weights not finite"),
        }
        if not by_decoder:
            gap = distance(weights, lengths).mean().item()
            measurements["attention/distance"] = scalar(gap, "weights not finite")
        return measurements


def entropy(weights: Tensor) -> Tensor:
    """(B, heads, T) -> (B, heads), in nats; padding, of weight 0, adds nothing."""
    return torch.special.entr(weights).sum(-1)


def relative_entropy(weights: Tensor, lengths: Tensor) -> Scalar | Undefined:
    """Entropy over ln length, its largest value, averaged over heads and sequences longer than one step."""
    longer = lengths > 1
    if not bool(longer.any()):
        return Undefined("every sequence has one step: there is nothing to choose between")
    relative = entropy(weights[longer]) / lengths[longer].log()[:, None]
    return scalar(relative.mean().item(), "weights not finite")


def distance(weights: Tensor, lengths: Tensor) -> Tensor:
    """(B, heads): mean number of steps between the last position, where the query is, and what is read."""
    position = torch.arange(weights.shape[-1], device=weights.device)
    return (weights * (lengths[:, None] - 1 - position)[:, None]).sum(-1)
