"""Statistics of gates over valid positions (docs/instruments.md, "Measurements on gates").

`update` is the share of the new candidate that is written, `keep` the share of the old state that is kept.
Sources: Karpathy et al. 2015 (saturation of each unit); Tallec & Ollivier 2018 (1 / (1 − mean keep)).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.distributions import gate_distribution, valid_rows
from gatescope.instruments.measurements import Heatmap, Measurement, Measurements, Points, Undefined
from gatescope.instruments.probe import Probe
from gatescope.instruments.states import state_statistics
from gatescope.instruments.token_share import explained_share, permute_within
from gatescope.models.traces import LayerTrace

HEATMAP_UNITS = 32
"""Largest number of hidden units in a heatmap."""


class GateStatistics(ProbeInstrument):
    """Statistics of every gate, of `keep`, of the candidate and of the states.

    For every gate, under `gates/<layer>/<gate>/`, over hidden units and valid positions:

    - `mean`, `std`, and `quantile_10`, `quantile_50`, `quantile_90` (over a sample, see
      `distributions.QUANTILE_ROWS`); `histogram`.
    - `saturation`: for each unit the share of positions above 0.9 (right) and below 0.1 (left; for the
      candidate below −0.9). `saturated` (candidate only): share of values with |·| > 0.9.
    - `bimodality`: Sarle's coefficient (skewness² + 1) / kurtosis, median over units: 5/9 for a uniform
      distribution, 1 for two points.
    - `token_share`, `token_share_permuted`: share of the gate's variance between tokens, η² (0 to 1), and the
      same after tokens are permuted within their sequence.
    - `example<i>`: heatmap (units, steps) of one sequence.

    For every layer:

    - `gates/<layer>/timescale`: for each unit, in steps, `rate` = −1 / mean_t ln keep_t (the exact rate of
      ∏ keep) and `mean_keep` = 1 / (1 − mean_t keep_t).
    - `gates/<layer>/state/…`: see `states.state_statistics`.

    Each array of gate values is recorded once. An array with two names is recorded as `keep`, which all cells
    share: the forget gate of an LSTM, a peephole LSTM and a minLSTM is `gates/<layer>/keep/…`. A GRU and a
    minGRU have keep = 1 − update, a minLSTM keep = 1 − input: these are different arrays, and both are
    recorded.

    Args:
        bins: bins of the histograms.
        heatmaps: number of sequences with heatmaps.
        token_share: whether to measure `token_share`.
        seed: seed of the permutation of tokens.
    """

    def __init__(
        self,
        bins: Annotated[int, Field(ge=2, le=64)] = 50,
        heatmaps: Annotated[int, Field(ge=0)] = 0,
        token_share: bool = False,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.bins, self.heatmaps, self.token_share, self.seed = bins, heatmaps, token_share, seed

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure the gates of one probe."""
        if not probe.layers:
            return {"gates": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        for name, layer in probe.layers.items():
            prefix = f"gates/{name}"
            measurements |= state_statistics(prefix, layer, probe.mask)
            gates = distinct_gates(probe.gates[name])
            measurements[f"{prefix}/timescale"] = timescale(gates.get("keep"), probe.mask)
            for gate, values in gates.items():
                signed = gate == "candidate"
                measurements |= gate_distribution(
                    f"{prefix}/{gate}", valid_rows(values, probe.mask), signed, self.bins
                )
                if self.token_share:
                    measurements |= self._token_share(f"{prefix}/{gate}", values, layer, probe)
                for row in range(min(self.heatmaps, len(values))):
                    measurements[f"{prefix}/{gate}/example{row}"] = heatmap(values, row, layer, probe)
        return measurements

    def _token_share(self, prefix: str, values: Tensor, layer: LayerTrace, probe: Probe) -> Measurements:
        if probe.task.inputs != "tokens":
            return {f"{prefix}/token_share": Undefined("the inputs are features, not tokens")}
        ids = layer.align_time(probe.batch.inputs)
        valid = values[probe.mask]
        permuted = permute_within(ids, probe.mask, self.seed)
        return {
            f"{prefix}/token_share": explained_share(valid, ids[probe.mask]),
            f"{prefix}/token_share_permuted": explained_share(valid, permuted[probe.mask]),
        }


def recorded_name(gate: str, gates: dict[str, Tensor]) -> str:
    """Return the name a gate is recorded under: `keep` where both names have the same array."""
    return "keep" if gates[gate] is gates.get("keep") else gate


def distinct_gates(gates: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return gates by recorded name, each array once."""
    return {recorded_name(gate, gates): values for gate, values in gates.items()}


def timescale(keep: Tensor | None, mask: Tensor) -> Points | Undefined:
    """Return the timescales of each hidden unit, in steps.

    A gate of 1 in float32 is replaced by the largest number below 1, so that timescales are finite.

    Args:
        keep: (B, T, H), or None for a cell without such a gate.
        mask: (B, T) bool, true at valid positions.
    """
    if keep is None:
        return Undefined("the cell has no gate that keeps its state")
    valid = valid_rows(keep, mask)
    if not math.isfinite(valid.mean().item()):
        return Undefined("the gate is not finite")
    valid = valid.clamp(torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps / 2)
    rate = -1 / valid.log().mean(0, dtype=torch.float64)
    mean_keep = 1 / (1 - valid.mean(0, dtype=torch.float64))
    return Points({"rate": rate.tolist(), "mean_keep": mean_keep.tolist()})


def heatmap(values: Tensor, row: int, layer: LayerTrace, probe: Probe) -> Measurement:
    """Return one sequence's gate as a heatmap (units, steps), in the order of the input.

    Only the units that vary most within the sequence are drawn.

    Args:
        values: (B, T, H), in the time order of the layer.
        row: index of the sequence.
        layer: the layer.
        probe: the probe.
    """
    steps = int(probe.batch.lengths[row])
    sequence = layer.align_time(values)[row, :steps]
    if not bool(torch.isfinite(sequence).all()):
        return Undefined("the gate is not finite")
    count = min(HEATMAP_UNITS, sequence.shape[1])
    units = sequence.var(0, correction=0).topk(count).indices.sort().values
    labels = [str(t) for t in range(steps)] if probe.tokens is None else probe.tokens[row][:steps]
    return Heatmap(sequence[:, units].T.tolist(), labels, [str(u) for u in units.tolist()], "step", "unit")
