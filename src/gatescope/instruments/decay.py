"""Decay rate, half-life and reach of a norm by lag (docs/instruments.md, "Measurements on gradients")."""

from __future__ import annotations

import math

from torch import Tensor

from gatescope.instruments.lag_curves import LagLogs, dead_and_exploded_shares, lag_logs
from gatescope.instruments.measurements import Curve, Measurements, Scalar, Undefined, scalar

RESOLUTION = 1e-6
"""Smallest decay rate, in nats a step, that float32 states can distinguish from 0."""
MOSTLY_DEAD = 0.5
"""From this share of dead examples on there is no mean: the other examples do not represent the model."""


def rate_measurements(
    prefix: str,
    logs: LagLogs | Undefined,
    curve: Curve | Undefined,
    fit: tuple[int, int],
    epsilon: float,
    mostly_dead: bool = False,
) -> Measurements:
    """Measure decay rate, half-life and reach.

    - `decay_rate`: mean slope of the log norm over the lags of the fit, in nats a step.
    - `half_life`: ln 2 / −decay_rate, in steps; undefined ("does not vanish") for a rate of 0 or above.
    - `reach`: largest lag of the curve with a relative norm above epsilon, in steps.
    - `reach_censored`: 1 where that is the last lag of the curve, so that the true reach may be longer; 0
      where the curve ends because norms are exactly 0.

    Args:
        prefix: prefix of the names.
        logs: relative log norms.
        curve: their curve.
        fit: smallest and largest lag of the fit.
        epsilon: threshold of the reach.
        mostly_dead: whether most examples have a norm of 0 within the fit; then there is no rate.
    """
    if isinstance(logs, Undefined) or isinstance(curve, Undefined):
        why = logs if isinstance(logs, Undefined) else curve
        return {f"{prefix}{name}": why for name in ("decay_rate", "half_life", "reach", "reach_censored")}
    rates = logs.decay_rates(*fit)
    reached = [lag for lag, value in zip(curve.x, curve.y, strict=True) if value > epsilon]
    measurements: Measurements = {
        f"{prefix}reach": Scalar(reached[-1]),
        f"{prefix}reach_censored": Scalar(
            float(reached[-1] == curve.x[-1] and not logs.ends_in_zeros(len(curve.x)))
        ),
    }
    if mostly_dead:
        dead = Undefined(f"dead: of most sequences exactly 0 at some lag up to {fit[1]}")
        return measurements | {f"{prefix}decay_rate": dead, f"{prefix}half_life": dead}
    if len(rates) == 0:
        short = Undefined(f"no sequence has two lags from {fit[0]} to {fit[1]}")
        return measurements | {f"{prefix}decay_rate": short, f"{prefix}half_life": short}
    rate = rates.mean().item()
    return measurements | {f"{prefix}decay_rate": scalar(rate), f"{prefix}half_life": half_life(rate)}


def state_measurements(
    curve: str,
    rates: str,
    logs: dict[str, Tensor],
    lengths: Tensor,
    label: str,
    fit: tuple[int, int],
    epsilon: float,
) -> tuple[Measurements, LagLogs | Undefined]:
    """Measure the curves of the whole state and of h and c, and the rates of the whole state.

    Args:
        curve: name of the curve of the whole state; "_h" and "_c" are appended for its parts.
        rates: prefix of the names of rates, `dead_share` and `exploded_share`.
        logs: (B, T) log norms by lag, of "state" and of "h" and "c" for a cell with a memory cell.
        lengths: (B,).
        label: label of the y axis.
        fit: smallest and largest lag of the fit.
        epsilon: threshold of the reach.

    Returns:
        The measurements, and the relative log norms of the whole state.
    """
    whole, steps = logs["state"], logs["state"].shape[1]
    dead, _ = dead_and_exploded_shares(whole[:, : fit[1] + 1], lengths, range(min(fit[1] + 1, steps)))
    _, exploded = dead_and_exploded_shares(whole, lengths, range(steps))
    measurements: Measurements = {f"{rates}dead_share": dead, f"{rates}exploded_share": exploded}
    mostly_dead = isinstance(dead, Scalar) and dead.value >= MOSTLY_DEAD
    relative = {part: lag_logs(values, lengths) for part, values in logs.items()}
    for part, part_logs in relative.items():
        name = curve if part == "state" else f"{curve}_{part}"
        part_curve = part_logs if isinstance(part_logs, Undefined) else part_logs.curve(label)
        measurements[name] = part_curve
        if part == "state":
            measurements |= rate_measurements(rates, part_logs, part_curve, fit, epsilon, mostly_dead)
    return measurements, relative["state"]


def half_life(rate: float) -> Scalar | Undefined:
    """Return ln 2 / −rate, in steps; undefined for a rate of 0 or above."""
    if rate > -RESOLUTION:
        return Undefined(f"does not vanish: the decay rate is {rate:.2g} nats a step")
    return scalar(math.log(2) / -rate)
