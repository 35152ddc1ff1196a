"""Where a decoder looks, beside where each target symbol truly comes from."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Heatmap, Measurements, scalar
from gatescope.instruments.probe import Probe
from gatescope.sequences import IGNORE, TaskSpec, first_answer

NONE = "no target symbol of the batch has a known source"


class AlignmentAccuracy(ProbeInstrument):
    """`alignment/example`, the weights of the first sequence; and where the data know the truth
    `alignment/accuracy`, the share of target symbols whose largest weight lies on a true source step,
    `alignment/mass`, the mean weight on true steps, and `alignment/chance`, the same of uniform weights.

    Heads are averaged. Weights credit states, which know their neighbours: a state beside the true step may
    carry what it said, so that a low accuracy is no fault of the answer. Nothing without a decoder that
    attends.
    """

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        if probe.attention is None or probe.attention.dim() != 4:
            return {}
        weights = probe.attention.mean(2)
        targets = first_answer(probe.batch.targets)
        measurements: Measurements = {"alignment/example": example(probe, weights[0], targets[0])}
        if probe.alignment is None:
            return measurements
        truth = probe.alignment.to(weights.device)[:, : targets.shape[1]]
        known = truth.any(-1) & (targets != IGNORE)
        found = truth.gather(-1, weights.argmax(-1, keepdim=True))[..., 0]
        uniform = truth.sum(-1) / probe.batch.lengths[:, None]
        return measurements | {
            "alignment/accuracy": scalar(found[known].float().mean().item(), NONE),
            "alignment/mass": scalar((weights * truth).sum(-1)[known].mean().item(), NONE),
            "alignment/chance": scalar(uniform[known].mean().item(), NONE),
        }


def example(probe: Probe, weights: Tensor, targets: Tensor) -> Heatmap:
    """weights (U, T) of the probe's first sequence, whose targets (U,) may be padded."""
    steps, symbols = int(probe.batch.lengths[0]), int((targets != IGNORE).sum())
    source = probe.tokens[0] if probe.tokens else [str(t) for t in range(steps)]
    return Heatmap(
        weights[:symbols, :steps].tolist(),
        x=list(source),
        y=written(targets[:symbols], probe.task),
        x_label="source step",
        y_label="target symbol",
    )


def written(symbols: Tensor, task: TaskSpec) -> list[str]:
    return [task.target_vocabulary[i] for i in symbols.tolist()]
