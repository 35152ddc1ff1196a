"""Gate values at parts of a text: the start, the end, negations, and all other steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.gates import recorded_name
from gatescope.instruments.measurements import Measurements, Undefined, scalar
from gatescope.instruments.probe import Probe

NEGATIONS = ("not", "no", "never", "nothing", "nobody", "none", "nor", "cannot", "n't", "without")
APOSTROPHES = ("'", "’")


class GateParts(ProbeInstrument):
    """Mean gate values by part of a text; only for tokens and for cells with gates.

    Measurements are named `gate_parts/<layer>/<gate>/<part>`: the mean of the gate (0 to 1) over hidden units
    and the steps of the part. Parts are `start` (the first step), `end` (the last step), `negation` and
    `elsewhere` (all other steps). A forget gate is named `keep`, as in `GateStatistics`.

    torchtext's tokenizer splits contractions, "don't" into don, ' and t: a t after an apostrophe counts as a
    negation.

    Args:
        negations: words that count as negations.
    """

    def __init__(self, negations: Sequence[str] = NEGATIONS) -> None:
        self.negations = frozenset(negations)

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure the gates of one probe by part."""
        if probe.tokens is None:
            return {"gate_parts": Undefined("the input is not made of tokens")}
        parts = {name: steps.to(probe.outputs.device) for name, steps in self.parts(probe).items()}
        measurements: Measurements = {}
        for layer, gates in probe.gates.items():
            trace = probe.layers[layer]
            for gate in trace.cell.gate_names:
                means = trace.align_time(gates[gate].mean(-1))
                name = recorded_name(gate, gates)
                for part, steps in parts.items():
                    why = f"no step of the batch is of this part: {part}"
                    mean = means[steps].mean().item()
                    measurements[f"gate_parts/{layer}/{name}/{part}"] = scalar(mean, why)
        return measurements

    def parts(self, probe: Probe) -> dict[str, Tensor]:
        """Return the steps (B, T) bool of each part; a negation at the start or end belongs to both parts."""
        steps, lengths = probe.outputs.shape[1], probe.batch.lengths.cpu()
        assert probe.tokens is not None
        negation = torch.zeros(len(probe.tokens), steps, dtype=torch.bool)
        for row, tokens in enumerate(probe.tokens):
            for t, token in enumerate(tokens):
                contracted = token == "t" and t > 0 and tokens[t - 1] in APOSTROPHES
                negation[row, t] = token in self.negations or contracted
        position = torch.arange(steps)
        start = (position == 0).expand_as(negation)
        end = position == lengths[:, None] - 1
        elsewhere = probe.mask.cpu() & ~start & ~end & ~negation
        return {"start": start, "end": end, "negation": negation, "elsewhere": elsewhere}
