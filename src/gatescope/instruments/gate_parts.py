"""What gates do at different parts of an input: at its start, its end, at negations, elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatescope.cells.tensors import reverse_within
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.gates import recorded_as
from gatescope.instruments.measurements import Measurements, Undefined, scalar
from gatescope.instruments.probe import Probe

NEGATIONS = ("not", "no", "never", "nothing", "nobody", "none", "nor", "cannot", "n't", "without")
APOSTROPHES = ("'", "’")


class GateParts(ProbeInstrument):
    """`gate_parts/<layer>/<gate>/<part>`: the gate's mean over units and positions of a part, the parts being
    `start` (the first step), `end` (the last), `negation` and `elsewhere`; for tokens only, without a gate
    nothing. A forget gate stands under `keep`, as in `GateStatistics`.

    torchtext's tokenizer takes contractions apart, "don't" into don, ' and t: a t after an apostrophe counts.

    Args:
        negations: words that negate; default: `NEGATIONS`.
    """

    def __init__(self, negations: Sequence[str] = NEGATIONS) -> None:
        self.negations = frozenset(negations)

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        if probe.tokens is None:
            return {"gate_parts": Undefined("the input is not made of tokens")}
        parts = {name: where.to(probe.outputs.device) for name, where in self.parts(probe).items()}
        measurements: Measurements = {}
        for layer, gates in probe.gates.items():
            trace = probe.layers[layer]
            for gate in trace.cell.gate_names:
                values = gates[gate].mean(-1)[..., None]
                values = reverse_within(values, probe.batch.lengths) if trace.backward else values
                name = recorded_as(gate, gates)
                for part, where in parts.items():
                    why = f"no step of the batch is of this part: {part}"
                    mean = values[..., 0][where].mean().item()
                    measurements[f"gate_parts/{layer}/{name}/{part}"] = scalar(mean, why)
        return measurements

    def parts(self, probe: Probe) -> dict[str, Tensor]:
        """(B, T) bool each; a negation at either end counts as both."""
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
