"""What the gates do (INSTRUMENTS.md §4): how open, saturated and lasting, on valid positions only.

`update` is the share of the new candidate written, `keep` the share of the old state that stays.
Sources: Karpathy et al. 2015 (saturation per unit), Tallec & Ollivier 2018 (1 / (1 - mean keep)).
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.cells.tensors import reverse_within
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import (
    Heatmap,
    Histogram,
    Measurement,
    Measurements,
    Points,
    Scalar,
    Undefined,
    scalar,
)
from gatescope.instruments.probe import Probe
from gatescope.models.stack import LayerTrace

OPEN, SHUT = 0.9, 0.1
QUANTILES = (0.1, 0.5, 0.9)
QUANTILE_SAMPLE, QUANTILE_ROWS = 2**14, 2**9
"""Quantiles are taken over a random sample of positions, each with all of its units, of at least this many
values and this many positions: partitioning all of them would be the slowest part of the reading. So every
unit has its full weight. The share of values below a quantile is within 2.2 % of the one asked for (one
standard error, 0.5 / √512, reached only where all units move together; 0.4 % or less where they move on
their own)."""
HEATMAP_UNITS = 32
ROWS = 1024
"""Positions that are counted at once: what lies between then stays in a processor's cache."""


class GateStatistics(ProbeInstrument):
    """`gates/<layer>/<gate>/…` for every gate, `keep` and `candidate`; `gates/<layer>/state/…` of the states.

    Each array of gate values is recorded once. Where a cell has two names for it, it stands under `keep`,
    which all cells share: the forget gate of an LSTM, a peephole LSTM and a minLSTM is
    `gates/<layer>/keep/…`, and there is no `gates/<layer>/forget/…`. A GRU's and a minGRU's keep is
    1 - update, a minLSTM's 1 - input: complements are other numbers, and both are recorded.

    Scalars mean, std, quantile_10, quantile_50, quantile_90 (over a sample, see `QUANTILE_ROWS`), saturated
    (candidate and state only: share of |·| > 0.9), bimodality (Sarle's coefficient,
    (skewness² + 1) / kurtosis, median over units: 5/9 for a uniform distribution, 1 for two points). Points
    saturation: right and left share of a unit.
    Points `gates/<layer>/timescale`: rate = -1 / mean ln keep, and mean_keep = 1 / (1 - mean keep), in steps.

    Args:
        bins: of the histograms.
        heatmaps: how many examples of the probe are drawn, gate by gate.
        token_share: whether to measure the share of a gate's variance that tokens explain, and the same after
            tokens are permuted within their sequence.
        seed: of that permutation.
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
        measurements: Measurements = {}
        if not probe.layers:
            return {"gates": Undefined("the model has no recurrent layer")}
        for name, layer in probe.layers.items():
            prefix = f"gates/{name}"
            measurements |= state_statistics(prefix, layer, probe.mask)
            gates = each_once(probe.gates[name])
            measurements[f"{prefix}/timescale"] = timescale(gates.get("keep"), probe.mask)
            for gate, values in gates.items():
                signed = gate == "candidate"
                measurements |= distribution(
                    f"{prefix}/{gate}", at_valid(values, probe.mask), signed, self.bins
                )
                if self.token_share:
                    measurements |= self._token_share(f"{prefix}/{gate}", values, layer, probe)
                for row in range(min(self.heatmaps, len(values))):
                    measurements[f"{prefix}/{gate}/example{row}"] = heatmap(values, row, layer, probe)
        return measurements

    def _token_share(self, prefix: str, values: Tensor, layer: LayerTrace, probe: Probe) -> Measurements:
        if probe.task.inputs != "tokens":
            return {f"{prefix}/token_share": Undefined("the inputs are features, not tokens")}
        ids = probe.batch.inputs
        ids = reverse_within(ids[..., None], probe.batch.lengths)[..., 0] if layer.backward else ids
        valid = values[probe.mask]
        permuted = permute_within(ids, probe.mask, self.seed)
        return {
            f"{prefix}/token_share": explained_share(valid, ids[probe.mask]),
            f"{prefix}/token_share_permuted": explained_share(valid, permuted[probe.mask]),
        }


def recorded_as(gate: str, gates: dict[str, Tensor]) -> str:
    """The name under which a gate is recorded: `keep` where that is the same array."""
    return "keep" if gates[gate] is gates.get("keep") else gate


def each_once(gates: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gates by the name under which they are recorded, each array once."""
    return {recorded_as(gate, gates): values for gate, values in gates.items()}


def at_valid(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T, H) -> (N, H): the valid positions; where they are all, step by step, as a walk left them."""
    return values.transpose(0, 1).flatten(0, 1).contiguous() if bool(mask.all()) else values[mask]


def distribution(prefix: str, values: Tensor, signed: bool, bins: int) -> Measurements:
    """Readings of one gate's values (N, H) at valid positions; `signed` for values about 0 (a candidate)."""
    flat = values.reshape(-1)
    mean = flat.mean().item()
    # One value that is not finite makes the mean so, and costs no pass of its own.
    if not math.isfinite(mean):
        return {f"{prefix}/mean": Undefined("the gate is not finite")}
    moments = unit_moments(values)
    # numpy partitions where torch sorts.
    quantiles = np.quantile(sample_rows(values).cpu().numpy(), QUANTILES)
    measurements: Measurements = {
        f"{prefix}/mean": scalar(mean),
        f"{prefix}/std": scalar((moments.square + (moments.mean - mean).square()).mean().sqrt().item()),
        f"{prefix}/histogram": histogram(flat, signed, bins),
        f"{prefix}/bimodality": bimodality(moments),
        f"{prefix}/saturation": saturation(values, -OPEN if signed else SHUT),
    }
    for share, value in zip(QUANTILES, quantiles.tolist(), strict=True):
        measurements[f"{prefix}/quantile_{round(100 * share)}"] = scalar(value)
    if signed:
        measurements[f"{prefix}/saturated"] = scalar(above(flat.abs(), OPEN).mean().item())
    return measurements


def sample_rows(values: Tensor) -> Tensor:
    """Draw rows of (N, H) without replacement, always the same for a shape: all where they are few.

    Not with a stride: one through the values meets only some units where it shares a factor with H, one
    through the rows only some examples or steps.
    """
    count = max(QUANTILE_ROWS, -(-QUANTILE_SAMPLE // values.shape[1]))
    if len(values) <= count:
        return values
    chosen = np.random.default_rng(0).choice(len(values), count, replace=False, shuffle=False)
    return values[torch.from_numpy(chosen).to(values.device)]


def saturation(values: Tensor, shut: float) -> Points:
    """(N, H) -> per unit, the share of positions above 0.9 (right) and below `shut` (left)."""
    right = torch.stack([above(block, OPEN).sum(0) for block in values.split(ROWS)]).sum(0) / len(values)
    left = torch.stack([above(-block, -shut).sum(0) for block in values.split(ROWS)]).sum(0) / len(values)
    return Points({"right": right.tolist(), "left": left.tolist()})


def above(values: Tensor, bound: float) -> Tensor:
    """1 where a value is greater, else 0, as floats at once: sums of booleans are several times slower."""
    return torch.gt(values, bound, out=torch.empty_like(values))


def histogram(flat: Tensor, signed: bool, bins: int) -> Histogram:
    low, high = (-1.0, 1.0) if signed else (0.0, 1.0)
    least, most = torch.aminmax(flat)
    low, high = min(low, least.item()), max(high, most.item())
    # By hand: histc takes three times as long on a CPU.
    counts = torch.zeros(bins, dtype=torch.float64, device=flat.device)
    for block in flat.split(ROWS * 64):
        index = ((block - low) * (bins / (high - low))).to(torch.uint8).clamp_max_(bins - 1)
        counts += index.bincount(minlength=bins)
    return Histogram(torch.linspace(low, high, bins + 1, dtype=torch.float64).tolist(), counts.tolist())


class Moments(NamedTuple):
    """Of every unit (H,): mean, and the mean square, cube and fourth power of the distance from it."""

    mean: Tensor
    square: Tensor
    cube: Tensor
    fourth: Tensor


def unit_moments(values: Tensor) -> Moments:
    """(N, H) -> moments over N."""
    mean = values.mean(0)
    sums = torch.zeros(3, values.shape[1], dtype=values.dtype, device=values.device)
    for block in values.split(ROWS):
        centred = block - mean
        square = centred.square()
        sums += torch.stack([square.sum(0), centred.mul_(square).sum(0), square.square_().sum(0)])
    return Moments(mean, *(sums / len(values)))


def bimodality(moments: Moments) -> Scalar | Undefined:
    """The median over units of (skewness² + 1) / kurtosis; units that never move do not count."""
    variance = moments.square
    moving = variance > 1e-12
    if not bool(moving.any()):
        return Undefined("no unit's gate varies")
    skewness = moments.cube[moving] / variance[moving] ** 1.5
    kurtosis = moments.fourth[moving] / variance[moving] ** 2
    return scalar(((skewness.square() + 1) / kurtosis).median().item())


def timescale(keep: Tensor | None, mask: Tensor) -> Points | Undefined:
    """keep (B, T, H) -> steps a unit: the exact rate of the product of keep, beside 1 / (1 - mean keep).

    A gate that float32 cannot tell from 1 is read as the largest number below 1, so a timescale is finite.
    """
    if keep is None:
        return Undefined("the cell has no gate that keeps its state")
    valid = at_valid(keep, mask)
    if not math.isfinite(valid.mean().item()):
        return Undefined("the gate is not finite")
    valid = valid.clamp(torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps / 2)
    rate = -1 / valid.log().mean(0, dtype=torch.float64)
    mean_keep = 1 / (1 - valid.mean(0, dtype=torch.float64))
    return Points({"rate": rate.tolist(), "mean_keep": mean_keep.tolist()})


def state_statistics(prefix: str, layer: LayerTrace, mask: Tensor) -> Measurements:
    """Participation ratio of a layer's states; of a cell without gates, the states' saturation as well."""
    states = at_valid(layer.states.h, mask)
    measurements: Measurements = {f"{prefix}/state/participation_ratio": participation_ratio(states)}
    if layer.cell.gate_names:
        return measurements
    if getattr(layer.cell, "nonlinearity", "tanh") == "relu":
        active = above(states, 0).mean(0)
        measurements[f"{prefix}/state/active"] = scalar(active.mean().item())
        measurements[f"{prefix}/state/dead"] = scalar((active == 0).float().mean().item())
        return measurements
    measurements[f"{prefix}/state/saturation"] = saturation(states, -OPEN)
    measurements[f"{prefix}/state/saturated"] = scalar(above(states.abs(), OPEN).mean().item())
    return measurements


def participation_ratio(states: Tensor) -> Scalar | Undefined:
    """(N, H) -> (tr C)² / tr C², C the states' covariance: how many dimensions the states fill."""
    centred = states - states.mean(0)
    covariance = centred.T @ centred
    spread = covariance.square().sum().item()
    if spread == 0:
        return Undefined("the states do not vary")
    return scalar(covariance.trace().item() ** 2 / spread, "the states are not finite")


def permute_within(ids: Tensor, mask: Tensor, seed: int) -> Tensor:
    """(B, T) -> (B, T): each sequence's valid tokens in random order, by a generator of its own."""
    noise = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)).to(ids.device)
    return ids.gather(1, noise.masked_fill(~mask, 2.0).argsort(1))


def explained_share(values: Tensor, ids: Tensor) -> Scalar | Undefined:
    """(N, H), (N,) -> η²: variance between tokens over the total, both summed over units."""
    _, group = ids.unique(return_inverse=True)
    counts = torch.bincount(group).double()
    centred = (values - values.mean(0)).double()
    total = centred.square().sum().item()
    if total == 0:
        return Undefined("the gate does not vary")
    sums = centred.new_zeros(len(counts), values.shape[1]).index_add_(0, group, centred)
    return scalar((sums.square().sum(1) / counts).sum().item() / total)


def heatmap(values: Tensor, row: int, layer: LayerTrace, probe: Probe) -> Measurement:
    """One example's gate, (units, steps) in the text's own order: the units that vary most within it."""
    lengths = probe.batch.lengths
    steps = int(lengths[row])
    one = values[row : row + 1]
    one = (reverse_within(one, lengths[row : row + 1]) if layer.backward else one)[0, :steps]
    if not bool(torch.isfinite(one).all()):
        return Undefined("the gate is not finite")
    units = one.var(0, correction=0).topk(min(HEATMAP_UNITS, one.shape[1])).indices.sort().values
    labels = [str(t) for t in range(steps)] if probe.tokens is None else probe.tokens[row][:steps]
    return Heatmap(one[:, units].T.tolist(), labels, [str(u) for u in units.tolist()], "step", "unit")
