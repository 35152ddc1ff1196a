"""Curves over lags, from log norms by lag (B, T).

Means are geometric: norms by lag are log-normal, and an arithmetic mean is dominated by the few largest
(docs/instruments.md, "Measurements on gradients"). A norm of exactly 0 has no logarithm and is left out of
every mean and fit, and so is a norm that overflows. `dead_share` and `exploded_share` measure how many
examples are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gatescope.instruments.measurements import Curve, Scalar, Undefined

LARGEST_LOG = 690.0
"""A curve ends where the log of a relative norm exceeds the range of a double (e^±690)."""


@dataclass
class LagLogs:
    """Log norms relative to lag 0, of the examples whose norm at lag 0 is not 0.

    Attributes:
        values: (B', T) float64: -inf where a norm is exactly 0, NaN beyond the start of a sequence.
    """

    values: Tensor

    def curve(self, y_label: str) -> Curve | Undefined:
        """Return the geometric mean and quartiles over examples, by lag."""
        return geometric_curve(self.values, list(range(self.values.shape[1])), y_label)

    def zero_lag(self) -> int | None:
        """Return the first lag at which the norm of some example is exactly 0."""
        zero = (self.values == -torch.inf).any(0)
        return int(zero.float().argmax()) if bool(zero.any()) else None

    def ends_in_zeros(self, lag: int) -> bool:
        """Return whether most of the examples that are long enough have a norm of exactly 0 at this lag."""
        if lag >= self.values.shape[1]:
            return False
        zeros = int((self.values[:, lag] == -torch.inf).sum())
        return zeros > 0 and zeros >= int(self.values[:, lag].isfinite().sum())

    def decay_rates(self, first: int, last: int) -> Tensor:
        """Fit the slope of the log norm over lags first … last, by least squares.

        Args:
            first: smallest lag.
            last: largest lag.

        Returns:
            The slope, in nats a step, of each example with two lags or more and no norm of 0 among them.
        """
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
    """Return the geometric mean and quartiles over the examples with a finite log.

    The curve ends at the last lag with at least half of the examples.

    Args:
        logs: (B, lags).
        lags: the lags.
        y_label: label of the y axis.
    """
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
    """Return log norms relative to lag 0, or the reason why there are none.

    Args:
        logs: (B, T), log norms by lag.
        lengths: (B,).
    """
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


def dead_and_exploded_shares(
    logs: Tensor, lengths: Tensor, lags: Sequence[int]
) -> tuple[Scalar, Scalar] | tuple[Undefined, Undefined]:
    """Return the shares of sequences with a norm of exactly 0, and with an overflow, at some lag.

    Sequences of one step are left out.

    Args:
        logs: (B, lags), log norms.
        lengths: (B,).
        lags: the lags.
    """
    inside = torch.tensor(lags, device=logs.device) < lengths[:, None]
    longer = lengths > 1
    if not bool(longer.any()):
        short = Undefined("every sequence has one step: there is no lag to measure")
        return short, short
    exploded = ((logs.isnan() | (logs == torch.inf)) & inside).any(1)
    dead = ((logs == -torch.inf) & inside).any(1) & ~exploded
    dead_share, exploded_share = (rows[longer].double().mean().item() for rows in (dead, exploded))
    return Scalar(dead_share), Scalar(exploded_share)
