"""Attention of a decoder, or the alignment of CTC, compared with the true source of each target symbol."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Heatmap, Measurements, scalar
from gatescope.instruments.probe import Probe
from gatescope.models.ctc import CTCModel
from gatescope.models.ctc_search import forced_alignment
from gatescope.sequences import IGNORE, TaskSpec, first_answer

NO_SOURCE = "no target symbol of the batch has a known source"


class AlignmentAccuracy(ProbeInstrument):
    """Accuracy of attention weights as an alignment, for decoders with attention and for CTC.

    Weights w (U, T) are averaged over heads. Those of CTC are 1 where a symbol begins on the most probable
    path of the true transcript, and 0 elsewhere. Measurements, means over target symbols with known source
    steps:

    - `alignment/accuracy`: share of symbols whose largest weight is at a true source step, 0 to 1.
    - `alignment/mass`: Σ of w over the true source steps, 0 to 1.
    - `alignment/chance`: the mass of uniform weights, (number of true steps) / length.
    - `alignment/example`: heatmap (U, T) of the weights of the first sequence; also where no source is known.

    A low accuracy is not an error of the model by itself: a state contains information on neighbouring steps,
    so attention to a neighbour of the true step can be sufficient.
    """

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure the alignment of one probe."""
        is_ctc = isinstance(probe.model, CTCModel)
        if not is_ctc and (probe.attention is None or probe.attention.dim() != 4):
            return {}
        targets = first_answer(probe.batch.targets)
        if is_ctc:
            log_p = probe.model.readout(probe.outputs, probe.batch.lengths).values
            begins = forced_alignment(log_p, targets)
            weights = torch.nn.functional.one_hot(begins, log_p.shape[1]).float()
        else:
            assert probe.attention is not None
            weights = probe.attention.mean(2)
        measurements: Measurements = {"alignment/example": example(probe, weights[0], targets[0])}
        if probe.alignment is None:
            return measurements
        truth = probe.alignment.to(weights.device)[:, : targets.shape[1]]
        known = truth.any(-1) & (targets != IGNORE)
        hits = truth.gather(-1, weights.argmax(-1, keepdim=True))[..., 0]
        uniform = truth.sum(-1) / probe.batch.lengths[:, None]
        return measurements | {
            "alignment/accuracy": scalar(hits[known].float().mean().item(), NO_SOURCE),
            "alignment/mass": scalar((weights * truth).sum(-1)[known].mean().item(), NO_SOURCE),
            "alignment/chance": scalar(uniform[known].mean().item(), NO_SOURCE),
        }


def example(probe: Probe, weights: Tensor, targets: Tensor) -> Heatmap:
    """Return the heatmap of the first sequence of a probe.

    Args:
        probe: the probe.
        weights: (U, T), weights of that sequence.
        targets: (U,), its targets; padding is IGNORE.
    """
    steps, symbols = int(probe.batch.lengths[0]), int((targets != IGNORE).sum())
    source = probe.tokens[0] if probe.tokens else [str(t) for t in range(steps)]
    return Heatmap(
        weights[:symbols, :steps].tolist(),
        x=list(source),
        y=symbol_names(targets[:symbols], probe.task),
        x_label="source step",
        y_label="target symbol",
    )


def symbol_names(symbols: Tensor, task: TaskSpec) -> list[str]:
    """Return the names of target ids."""
    return [task.target_vocabulary[i] for i in symbols.tolist()]
