"""Readings of gradient flow for figures and findings: of the top layer, loss-free, by variant and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gatescope.analysis import study
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import Estimate, geometric_intervals, mean_interval


def readings(tables: Tables, quantity: str) -> pd.DataFrame:
    """Every reading `gradient_flow/<top layer>/<quantity>`.

    Raises:
        NoData: no finished run has one.
    """
    table = study.contenders(tables).reading(rf"gradient_flow/[^/]+/{quantity}")
    if table.empty:
        raise NoData(f"no finished run has readings of gradient_flow ({quantity}): choose instruments=full")
    layer = table.name.str.split("/").str[1]
    depth = layer.str.extract(r"(\d+)", expand=False).fillna("0").astype(int)
    top = depth.groupby(table.run_id).transform("max")
    forward = ~layer.str.contains("backward|reverse")
    return table[(depth == top) & forward]


def longest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last condition in order: the longest lag."""
    return table[table.condition == study.conditions(table)[-1]]


def ends(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The first and the last reading of each run, under "initialisation" and "end of training"."""
    ordered = table.sort_values("step", kind="stable")
    return {
        "initialisation": ordered[ordered.step == 0],
        "end of training": ordered[ordered.step > 0].drop_duplicates("run_id", keep="last"),
    }


def mean_curve(table: pd.DataFrame) -> pd.DataFrame:
    """Curves averaged over seeds as means of logarithms, at lags that all seeds have: mean, low, high."""
    columns = [
        pd.Series(row["y"], index=row["x"], dtype=float) for row in table.payload if row["kind"] == "curve"
    ]
    if not columns:
        return pd.DataFrame(columns=["mean", "low", "high"])
    wide = pd.concat(columns, axis=1, join="inner")
    means = geometric_intervals(wide.to_numpy(dtype=float)).set_index(wide.index)
    return means[["mean", "low", "high"]]


@dataclass(frozen=True)
class Carried:
    """How far one variant carries a signal: decay rate (nats a step), half-life and reach (steps)."""

    rate: Estimate
    half_life: Estimate
    reach: Estimate
    censored: bool
    """Whether some seed's reach is the longest lag that was measured."""


def half_life(rate: Estimate) -> Estimate:
    """ln 2 / −rate with the rate's interval carried over; infinite where the rate does not vanish."""
    return Estimate(_halving(rate.mean), _halving(rate.low), _halving(rate.high), rate.n)


def _halving(rate: float) -> float:
    if math.isnan(rate):
        return math.nan
    return math.log(2) / -rate if rate < 0 else math.inf


def carried(rates: pd.DataFrame, reaches: pd.DataFrame, censored: pd.DataFrame) -> Carried:
    """Readings of one variant at one time -> estimates over its seeds."""
    rate = mean_interval(rates.value)
    return Carried(rate, half_life(rate), mean_interval(reaches.value), bool(np.any(censored.value == 1)))
