"""Statistics of the hidden states of a layer."""

from __future__ import annotations

from torch import Tensor

from gatescope.instruments.distributions import OPEN, above, saturation, valid_rows
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.models.traces import LayerTrace


def state_statistics(prefix: str, layer: LayerTrace, mask: Tensor) -> Measurements:
    """Measure the states of a layer, under `<prefix>/state/`.

    - `participation_ratio`: number of dimensions that the states fill.
    - For a ReLU cell without gates: `active`, the share of positive values, and `dead`, the share of units
      that are never positive.
    - For another cell without gates: `saturation` of each unit and `saturated`, the share with |h| > 0.9.

    Args:
        prefix: prefix of the names.
        layer: the layer.
        mask: (B, T) bool, true at valid positions.
    """
    states = valid_rows(layer.states.h, mask)
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
    """Return (tr C)² / tr C², with C the covariance of states (N, H): from 1 to H."""
    centred = states - states.mean(0)
    covariance = centred.T @ centred
    spread = covariance.square().sum().item()
    if spread == 0:
        return Undefined("the states do not vary")
    return scalar(covariance.trace().item() ** 2 / spread, "the states are not finite")
