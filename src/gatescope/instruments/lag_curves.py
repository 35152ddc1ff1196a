"""From log norms by lag (B, T) to what is reported of them: curve, decay rate, half-life, reach.

Means are geometric: norms over lags are log-normal, and an arithmetic mean follows the few largest
(INSTRUMENTS.md §3). A zero has no logarithm and enters no mean and no fit, nor does what overflows: how many
examples are lost that way is a reading of its own, `dead_share` and `exploded_share`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gatescope.instruments.measurements import Curve, Measurements, Scalar, Undefined, scalar

RESOLUTION = 1e-6
"""Smallest rate per step that float32 states can tell from 0."""
LARGEST_LOG = 690.0
"""Curves end where a relative norm leaves what a double can hold (e^±690)."""
MOSTLY = 0.5
"""From this share of dead examples on there is no mean: one over the others would say little of the model."""


@dataclass
class LagLogs:
    """Log norms relative to lag 0 of the examples that have one; NaN beyond a sequence's start.

    `values` (B', T) float64, -inf where a norm is exactly 0.
    """

    values: Tensor

    def curve(self, y_label: str) -> Curve | Undefined:
        return geometric_curve(self.values, list(range(self.values.shape[1])), y_label)

    def zero_lag(self) -> int | None:
        """The first lag at which some example's norm is exactly 0."""
        zero = (self.values == -torch.inf).any(0)
        return int(zero.float().argmax()) if bool(zero.any()) else None

    def ends_in_zeros(self, lag: int) -> bool:
        """Whether most of the examples that reach a lag have a norm of exactly 0 there."""
        if lag >= self.values.shape[1]:
            return False
        zeros = int((self.values[:, lag] == -torch.inf).sum())
        return zeros > 0 and zeros >= int(self.values[:, lag].isfinite().sum())

    def decay_rates(self, first: int, last: int) -> Tensor:
        """Slope of the log norm on lag, least squares over lags first … last, of each example that has two or
        more of them and is not dead there."""
        y = self.values[:, first : last + 1]
        y = y[~(y == -torch.inf).any(1)]
        weight = y.isfinite().to(y.dtype)
        y = y.masked_fill(~y.isfinite(), 0)
        lag = torch.arange(first, first + y.shape[1], dtype=y.dtype, device=y.device)
        count = weight.sum(1, keepdim=True)
        centred = lag - (weight * lag).sum(1, keepdim=True) / count.clamp_min(1)
        spread = (weight * centred.square()).sum(1)
        enough = count[:, 0] >= 2
        return ((weight * centred * y).sum(1)[enough]) / spread[enough]


def geometric_curve(logs: Tensor, lags: list[int], y_label: str) -> Curve | Undefined:
    """Logs (B, lags) -> geometric mean and quartiles over the examples where they are finite, up to the lag
    that half of the examples reach."""
    finite = logs.isfinite()
    half = (2 * finite.sum(0) >= len(logs)).cumprod(0).bool()
    values = logs[:, half].masked_fill(~finite[:, half], math.nan)
    mean = values.nanmean(0)
    inside = (mean.abs() < LARGEST_LOG).cumprod(0).bool()
    if not bool(inside.any()):
        return Undefined("dead: exactly 0 at every lag, or beyond what a number can hold")
    quartiles = torch.tensor([0.25, 0.75], dtype=values.dtype, device=values.device)
    low, high = values[:, inside].nanquantile(quartiles, dim=0).clamp(-LARGEST_LOG, LARGEST_LOG).exp()
    y = mean[inside].exp()
    x = [float(lag) for lag in lags[: len(y)]]
    return Curve(x, y.tolist(), "lag (steps)", y_label, low.tolist(), high.tolist())


def lag_logs(logs: Tensor, lengths: Tensor) -> LagLogs | Undefined:
    """Log norms by lag (B, T) of sequences of these lengths; Undefined where no lag can be read."""
    if int(lengths.max()) < 2:
        return Undefined("every sequence has one step: there is no lag to measure")
    beyond = torch.arange(logs.shape[1], device=logs.device) >= lengths[:, None]
    logs = logs.masked_fill(beyond, 0)
    exploded = int((logs.isnan() | (logs == torch.inf)).any(1).sum())
    if exploded:
        return Undefined(f"exploded: overflow in the adjoint of {exploded} of {len(logs)} sequences")
    used = (logs[:, 0] > -torch.inf) & (lengths > 1)
    if not bool(used.any()):
        return Undefined("dead: the loss does not depend on the last state, its gradient is exactly 0")
    relative = logs - logs[:, :1]
    return LagLogs(relative.masked_fill(beyond, math.nan)[used])


def lost_shares(
    logs: Tensor, lengths: Tensor, lags: Sequence[int]
) -> tuple[Scalar, Scalar] | tuple[Undefined, Undefined]:
    """Log norms (B, lags) at these lags -> of the sequences of two steps or more, the share whose norm is
    exactly 0 at some lag (dead), and the share whose norm overflows at some lag (exploded)."""
    inside = torch.tensor(lags, device=logs.device) < lengths[:, None]
    longer = lengths > 1
    if not bool(longer.any()):
        short = Undefined("every sequence has one step: there is no lag to measure")
        return short, short
    exploded = ((logs.isnan() | (logs == torch.inf)) & inside).any(1)
    dead = ((logs == -torch.inf) & inside).any(1) & ~exploded
    dead_share, exploded_share = (lost[longer].double().mean().item() for lost in (dead, exploded))
    return Scalar(dead_share), Scalar(exploded_share)


def rate_measurements(
    prefix: str,
    logs: LagLogs | Undefined,
    curve: Curve | Undefined,
    fit: tuple[int, int],
    epsilon: float,
    mostly_dead: bool = False,
) -> Measurements:
    """decay_rate (nats a step), half_life (steps), reach (largest lag whose relative norm is above epsilon).

    A rate of 0 or above has no half-life: Undefined, "does not vanish". The reach then is still the largest
    lag above epsilon; `reach_censored` is 1 where that is the curve's last lag, so the true reach may be
    longer (unless the curve ends there because nothing is left). Where most examples are dead within the
    range, there is no rate.
    """
    if isinstance(logs, Undefined) or isinstance(curve, Undefined):
        why = logs if isinstance(logs, Undefined) else curve
        return {f"{prefix}{name}": why for name in ("decay_rate", "half_life", "reach", "reach_censored")}
    rates = logs.decay_rates(*fit)
    above = [lag for lag, value in zip(curve.x, curve.y, strict=True) if value > epsilon]
    measurements: Measurements = {
        f"{prefix}reach": Scalar(above[-1]),
        f"{prefix}reach_censored": Scalar(
            float(above[-1] == curve.x[-1] and not logs.ends_in_zeros(len(curve.x)))
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
    """Log norms by lag (B, T), of the whole `state` and its halves -> `<curve>`, `<curve>_h`, `<curve>_c` and
    `rate_readings` of the whole with `lost_shares` under `<rates>dead_share` and `<rates>exploded_share`, and
    the whole's logs relative to lag 0."""
    whole, steps = logs["state"], logs["state"].shape[1]
    dead, _ = lost_shares(whole[:, : fit[1] + 1], lengths, range(min(fit[1] + 1, steps)))
    _, exploded = lost_shares(whole, lengths, range(steps))
    measurements: Measurements = {f"{rates}dead_share": dead, f"{rates}exploded_share": exploded}
    mostly_dead = isinstance(dead, Scalar) and dead.value >= MOSTLY
    relative = {part: lag_logs(values, lengths) for part, values in logs.items()}
    for part, found in relative.items():
        name = curve if part == "state" else f"{curve}_{part}"
        measurements[name] = drawn = found if isinstance(found, Undefined) else found.curve(label)
        if part == "state":
            measurements |= rate_measurements(rates, found, drawn, fit, epsilon, mostly_dead)
    return measurements, relative["state"]


def half_life(rate: float) -> Scalar | Undefined:
    """ln 2 / -rate, in steps."""
    if rate > -RESOLUTION:
        return Undefined(f"does not vanish: the decay rate is {rate:.2g} nats a step")
    return scalar(math.log(2) / -rate)
