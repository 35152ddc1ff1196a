"""The search space of `tune.space`: which values of which keys are tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gatescope.overrides import quoted

DIGITS = 3
"""Significant digits of a drawn number, so that names of runs and tables can be read."""


def distributions(space: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of each key.

    Args:
        space: By dotted key a list of values, {values: a list}, or {low, high} with an optional `log`:
            integers where both ends are integers. None stands for a key that is not tuned.
    """
    return {key: _distribution(domain) for key, domain in space.items() if domain is not None}


def _distribution(domain: Any) -> BaseDistribution:
    if isinstance(domain, Mapping) and domain.get("values") is not None:
        domain = domain["values"]
    if not isinstance(domain, Mapping):
        return CategoricalDistribution(list(domain))
    low, high, log = domain["low"], domain["high"], bool(domain.get("log", False))
    if type(low) is int and type(high) is int:
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def rounded(params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Return drawn values with three significant digits, within their limits."""
    values = {}
    for key, value in params.items():
        domain = space[key]
        if isinstance(domain, FloatDistribution):
            value = min(max(float(f"{value:.{DIGITS}g}"), domain.low), domain.high)
        values[key] = value
    return values


def overrides(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overrides that set these values."""
    for key, value in params.items():
        yield f"{key}={'null' if value is None else quoted(value) if isinstance(value, str) else value}"
