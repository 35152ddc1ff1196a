"""The distribution of gate values at valid positions: moments, quantiles, histogram, saturation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatescope.instruments.measurements import Histogram, Measurements, Points, Scalar, Undefined, scalar

OPEN, SHUT = 0.9, 0.1
"""A gate above OPEN or below SHUT is saturated (Karpathy et al. 2015)."""
QUANTILES = (0.1, 0.5, 0.9)
QUANTILE_SAMPLE, QUANTILE_ROWS = 2**14, 2**9
"""Quantiles are computed on a random sample of positions with all their hidden units: at least this many
values and this many positions. Partitioning all values would be the slowest part of the measurement. The
share of values below a quantile differs from the nominal share by at most 2.2 % (one standard error, 0.5 /
√512, where all units move together; 0.4 % or less where they are independent)."""
BLOCK_ROWS = 1024
"""Positions that are processed at once, so that intermediate results stay in the processor's cache."""


def valid_rows(values: Tensor, mask: Tensor) -> Tensor:
    """Select the valid positions of values (B, T, H) as rows (N, H).

    Where all positions are valid, rows are ordered by step, which is the memory order of the native kernels.
    """
    return values.transpose(0, 1).flatten(0, 1).contiguous() if bool(mask.all()) else values[mask]


def gate_distribution(prefix: str, values: Tensor, signed: bool, bins: int) -> Measurements:
    """Measure the distribution of one gate.

    Args:
        prefix: prefix of the names.
        values: (N, H), values at valid positions.
        signed: whether values are in (-1, 1), as a candidate's, and not in (0, 1).
        bins: bins of the histogram.
    """
    flat = values.reshape(-1)
    mean = flat.mean().item()
    # The mean is not finite where any value is not, so no further pass over the values is needed.
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
    """Draw rows of (N, H) without replacement, always the same rows for a shape; all rows where N is small.

    Rows are not drawn with a fixed stride: a stride through the values would select only some units where it
    shares a factor with H, and a stride through the rows only some examples or steps.
    """
    count = max(QUANTILE_ROWS, -(-QUANTILE_SAMPLE // values.shape[1]))
    if len(values) <= count:
        return values
    subset = np.random.default_rng(0).choice(len(values), count, replace=False, shuffle=False)
    return values[torch.from_numpy(subset).to(values.device)]


def saturation(values: Tensor, low: float) -> Points:
    """Return for each hidden unit the share of positions above 0.9 (right) and below `low` (left).

    Args:
        values: (N, H).
        low: threshold of the left side.
    """
    right = torch.stack([above(block, OPEN).sum(0) for block in values.split(BLOCK_ROWS)]).sum(0)
    left = torch.stack([above(-block, -low).sum(0) for block in values.split(BLOCK_ROWS)]).sum(0)
    return Points({"right": (right / len(values)).tolist(), "left": (left / len(values)).tolist()})


def above(values: Tensor, bound: float) -> Tensor:
    """Return 1.0 where a value is above the bound, else 0.0; floats, because sums of booleans are slower."""
    return torch.gt(values, bound, out=torch.empty_like(values))


def histogram(flat: Tensor, signed: bool, bins: int) -> Histogram:
    """Count values (N,) in equal bins over (0, 1), or (-1, 1) where signed, or a wider range if needed."""
    low, high = (-1.0, 1.0) if signed else (0.0, 1.0)
    smallest, largest = torch.aminmax(flat)
    low, high = min(low, smallest.item()), max(high, largest.item())
    # torch.histc takes three times as long on a CPU.
    counts = torch.zeros(bins, dtype=torch.float64, device=flat.device)
    for block in flat.split(BLOCK_ROWS * 64):
        index = ((block - low) * (bins / (high - low))).to(torch.uint8).clamp_max_(bins - 1)
        counts += index.bincount(minlength=bins)
    return Histogram(torch.linspace(low, high, bins + 1, dtype=torch.float64).tolist(), counts.tolist())


class Moments(NamedTuple):
    """Moments of every hidden unit, (H,) each.

    Attributes:
        mean: the mean.
        square: second central moment.
        cube: third central moment.
        fourth: fourth central moment.
    """

    mean: Tensor
    square: Tensor
    cube: Tensor
    fourth: Tensor


def unit_moments(values: Tensor) -> Moments:
    """Compute the moments of values (N, H) over N."""
    mean = values.mean(0)
    sums = torch.zeros(3, values.shape[1], dtype=values.dtype, device=values.device)
    for block in values.split(BLOCK_ROWS):
        centred = block - mean
        square = centred.square()
        sums += torch.stack([square.sum(0), centred.mul_(square).sum(0), square.square_().sum(0)])
    return Moments(mean, *(sums / len(values)))


def bimodality(moments: Moments) -> Scalar | Undefined:
    """Return the median of Sarle's coefficient (skewness² + 1) / kurtosis over the units that vary."""
    variance = moments.square
    varies = variance > 1e-12
    if not bool(varies.any()):
        return Undefined("no unit's gate varies")
    skewness = moments.cube[varies] / variance[varies] ** 1.5
    kurtosis = moments.fourth[varies] / variance[varies] ** 2
    return scalar(((skewness.square() + 1) / kurtosis).median().item())
