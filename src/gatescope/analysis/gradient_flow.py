"""Readings of gradient flow for figures and findings: of the top layer, loss-free, by variant and seed.

A seed may have no decay rate, because its gradient is exactly 0 ("dead") or overflows ("exploded"). Means are
over the other seeds, and everything that shows one says of how many: a mean over survivors flatters the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import Estimate, geometric_intervals, mean_interval, mean_intervals

ALIVE, DEAD, EXPLODED, UNDEFINED = "alive", "dead", "exploded", "undefined"
MOSTLY = 0.5
"""From this share of dead examples on, a seed is dead: the instrument then gives no decay rate."""
KEY = ["run_id", "step"]


START, END = "initialisation", "tested weights"
"""Before training, and as the test measures the model: the weights that were best on validation."""


def measurements(tables: Tables, quantity: str) -> pd.DataFrame:
    """Every reading `gradient_flow/<top layer>/<quantity>`, during training and of the tested weights.

    Raises:
        NoData: no finished run has one.
    """
    table = study.contenders(tables).with_tested(rf"gradient_flow/[^/]+/{quantity}")
    if table.empty:
        raise NoData(f"no finished run has readings of gradient_flow ({quantity}): choose instruments=full")
    layer = table.name.str.split("/").str[1]
    depth = layer.str.extract(r"(\d+)", expand=False).fillna("0").astype(int)
    top = depth.groupby(table.run_id).transform("max")
    forward = ~layer.str.contains("backward|reverse")
    return table[(depth == top) & forward]


def decay_rates(tables: Tables) -> pd.DataFrame:
    """Every loss-free decay rate of the top layer, NaN where there is none, with its `status`: "alive",
    "dead", "exploded", or "undefined" for another reason."""
    table = measurements(tables, "loss_free_decay_rate")
    shares = {name: _shares(tables, name) for name in (DEAD, EXPLODED)}
    # W&B keeps no undefined reading: there, a seed without a rate is known by its shares only.
    told = pd.concat(list(shares.values()), ignore_index=True).drop_duplicates(KEY)
    missing = ~pd.MultiIndex.from_frame(told[KEY]).isin(pd.MultiIndex.from_frame(table[KEY]))
    table = pd.concat([table, told[missing].assign(value=math.nan, kind="undefined")], ignore_index=True)
    share = {
        name: pd.MultiIndex.from_frame(table[KEY]).map(found.set_index(KEY).value.to_dict()).to_numpy(float)
        for name, found in shares.items()
    }
    why = pd.Series([str(row.get("why", "")) for row in table.payload], index=table.index)
    status = np.select(
        [
            table.value.notna(),
            (share[EXPLODED] > 0) | why.str.startswith((EXPLODED, "overflow")),
            (share[DEAD] >= MOSTLY) | why.str.startswith((DEAD, "no sequence has two lags", "exactly 0")),
        ],
        [ALIVE, EXPLODED, DEAD],
        UNDEFINED,
    )
    return table.assign(status=status)


def _shares(tables: Tables, name: str) -> pd.DataFrame:
    try:
        return measurements(tables, f"loss_free_{name}_share")
    except NoData:
        return measurements(tables, "loss_free_decay_rate").iloc[:0]


def over_seeds(table: pd.DataFrame, x: str, geometric: bool = False) -> pd.DataFrame:
    """Mean and interval over the seeds that are alive, at each `x` that every seed has reached.

    Args:
        table: a row a seed and x, with value and status.

    Returns:
        By x: mean, low, high, and how many seeds are in them (n), dead and exploded.
    """
    table = table.drop_duplicates([x, "seed"], keep="last")
    values = table.assign(value=table.value.where(table.status == ALIVE)).pivot(
        index=x, columns="seed", values="value"
    )
    status = table.pivot(index=x, columns="seed", values="status")
    everyone = status.notna().all(axis=1)
    means = (geometric_intervals if geometric else mean_intervals)(values[everyone].to_numpy(dtype=float))
    counts = {name: (status[everyone] == name).sum(axis=1).to_numpy() for name in (DEAD, EXPLODED)}
    return means.assign(**counts).set_index(values.index[everyone])


def lost(table: pd.DataFrame) -> str:
    """ "1 of 5 dead" and the like, of rows with a status, a row a seed; "" where all are alive."""
    counts = {name: int((table.status == name).sum()) for name in (DEAD, EXPLODED, UNDEFINED)}
    said = [f"{count} of {len(table)} {name}" for name, count in counts.items() if count]
    return ", ".join(said)


def lost_by_variant(table: pd.DataFrame) -> str:
    """A sentence for a caption on the seeds that are in no mean at the last step of each run; "" for none."""
    by = [name for name in ("tested", "step") if name in table]
    last = table.sort_values(by, kind="stable").drop_duplicates("run_id", keep="last")
    said = [
        f"{variant} {lost(own)}"
        for variant in style.order(last.variant)
        if lost(own := last[last.variant == variant])
    ]
    return f" Not in the means, at the end: {'; '.join(said)}." if said else ""


def longest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last condition in order: the longest lag."""
    return table[table.condition == study.conditions(table)[-1]]


def ends(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of each run the first reading, and that of the tested weights (where it has none, the last), under
    `START` and `END`."""
    ordered = table.sort_values(["tested", "step"], kind="stable")
    return {
        START: ordered[(ordered.step == 0) & ~ordered.tested],
        END: ordered[ordered.step > 0].drop_duplicates("run_id", keep="last"),
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
    """How far one variant carries a signal: decay rate (nats a step), half-life and reach (steps), over the
    seeds whose gradient is neither dead nor exploded."""

    rate: Estimate
    half_life: Estimate
    reach: Estimate
    censored: bool
    """Whether some seed's reach is the longest lag that was measured."""
    lost: str = ""
    """ "1 of 5 dead" and the like; "" where all seeds are in the estimates."""

    @property
    def grows(self) -> bool:
        """Whether the signal grows on its way back: the mean rate is above 0 and its interval, if it has one,
        does not hold 0."""
        return self.rate.mean > 0 and not self.rate.low <= 0


def half_life(rate: Estimate) -> Estimate:
    """ln 2 / −rate with the rate's interval carried over; infinite where the rate does not vanish."""
    return Estimate(_halving(rate.mean), _halving(rate.low), _halving(rate.high), rate.n)


def _halving(rate: float) -> float:
    if math.isnan(rate):
        return math.nan
    return math.log(2) / -rate if rate < 0 else math.inf


def carried(rates: pd.DataFrame, reaches: pd.DataFrame, censored: pd.DataFrame) -> Carried:
    """Readings of one variant at one time, rates with their status -> estimates over its seeds."""
    rate = mean_interval(rates.value)
    alive = set(rates.run_id[rates.status == ALIVE])
    reach = mean_interval(reaches.value[reaches.run_id.isin(alive)])
    at_bound = bool(np.any(censored.value[censored.run_id.isin(alive)] == 1))
    return Carried(rate, half_life(rate), reach, at_bound, lost(rates))
