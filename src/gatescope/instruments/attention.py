"""Statistics of attention weights (docs/instruments.md, "Attention")."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.instruments.probe import Probe
from gatescope.sequences import IGNORE, first_answer


class AttentionStatistics(ProbeInstrument):
    """Entropy, effective length and distance of attention weights w_t; nothing without attention.

    Means over heads and sequences. For a decoder, each target step of the first answer counts as one
    sequence.

    - `attention/entropy`: H / ln length with H = −Σ_t w_t ln w_t, from 0 (one step) to 1 (uniform);
      sequences of one step are left out.
    - `attention/effective_length`: exp H, in steps.
    - `attention/distance`: Σ_t w_t (length − 1 − t), in steps: the mean distance from the last step, whose
      state is the query of an encoder. Not for a decoder.
    """

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure the attention weights of one probe."""
        if probe.attention is None:
            return {}
        weights, lengths = probe.attention, probe.batch.lengths
        from_decoder = weights.dim() == 4
        if from_decoder:
            valid = first_answer(probe.batch.targets) != IGNORE
            weights, lengths = weights[valid], lengths[:, None].expand_as(valid)[valid]
        measurements: Measurements = {
            "attention/entropy": relative_entropy(weights, lengths),
            "attention/effective_length": scalar(entropy(weights).exp().mean().item(), "weights not finite"),
        }
        if not from_decoder:
            mean_distance = distance(weights, lengths).mean().item()
            measurements["attention/distance"] = scalar(mean_distance, "weights not finite")
        return measurements


def entropy(weights: Tensor) -> Tensor:
    """Return the entropy of weights (B, heads, T) as (B, heads), in nats; padding has weight 0 and adds 0."""
    return torch.special.entr(weights).sum(-1)


def relative_entropy(weights: Tensor, lengths: Tensor) -> Scalar | Undefined:
    """Return the mean of entropy / ln length over heads and sequences longer than one step."""
    longer = lengths > 1
    if not bool(longer.any()):
        return Undefined("every sequence has one step: there is nothing to choose between")
    relative = entropy(weights[longer]) / lengths[longer].log()[:, None]
    return scalar(relative.mean().item(), "weights not finite")


def distance(weights: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean distance (B, heads), in steps, of the weighted steps from the last step."""
    position = torch.arange(weights.shape[-1], device=weights.device)
    return (weights * (lengths[:, None] - 1 - position)[:, None]).sum(-1)
