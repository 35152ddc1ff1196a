"""Measurements of gradient flow for figures and findings: top layer, without the loss, by variant and seed.

A seed has no decay rate where its gradient is exactly 0 ("dead") or overflows ("exploded"). Means are over
the other seeds. Their number is always shown with the mean, as a mean over the remaining seeds is biased.
docs/instruments.md defines the quantities.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from gatescope.analysis import study, style, words
from gatescope.analysis.statistics import geometric_intervals, mean_intervals
from gatescope.analysis.tables import NoData, Tables
from gatescope.analysis.units import mean_by_unit, overlap

ALIVE, DEAD, EXPLODED, UNDEFINED = "alive", "dead", "exploded", "undefined"
DEAD_SHARE = 0.5
"""Share of dead examples from which a seed counts as dead: the instrument then gives no decay rate."""
KEY = ["run_id", "step"]

START, END = "initialisation", "tested weights"
"""Before training, and the weights that the test measures: those that were best on validation."""


def measurements(tables: Tables, quantity: str) -> pd.DataFrame:
    """Return every measurement `gradient_flow/<top layer>/<quantity>`, those of the tested weights included.

    Raises:
        NoData: no finished run has one.
    """
    table = study.contenders(tables).with_tested(rf"gradient_flow/[^/]+/{quantity}")
    if table.empty:
        raise NoData(
            f"no finished run has measurements of gradient_flow ({quantity}): choose instruments=full"
        )
    layer = table.name.str.split("/").str[1]
    depth = layer.str.extract(r"(\d+)", expand=False).fillna("0").astype(int)
    top = depth.groupby(table.run_id).transform("max")
    forward = ~layer.str.contains("backward|reverse")
    return table[(depth == top) & forward]


def decay_rates(tables: Tables) -> pd.DataFrame:
    """Return every decay rate of the top layer, measured without the loss.

    Returns:
        The measurements, NaN where there is no rate, with the column `status`: "alive", "dead", "exploded",
        or "undefined" for another reason.

    Raises:
        NoData: no finished run has one.
    """
    table = measurements(tables, "loss_free_decay_rate")
    shares = {name: _shares(tables, name) for name in (DEAD, EXPLODED)}
    # W&B keeps no undefined measurement: there, only the shares show that a seed has no rate.
    known = pd.concat(list(shares.values()), ignore_index=True).drop_duplicates(KEY)
    missing = ~pd.MultiIndex.from_frame(known[KEY]).isin(pd.MultiIndex.from_frame(table[KEY]))
    table = pd.concat([table, known[missing].assign(value=math.nan, kind="undefined")], ignore_index=True)
    share = {
        name: pd.MultiIndex.from_frame(table[KEY]).map(own.set_index(KEY).value.to_dict()).to_numpy(float)
        for name, own in shares.items()
    }
    why = pd.Series([str(row.get("why", "")) for row in table.payload], index=table.index)
    status = np.select(
        [
            table.value.notna(),
            (share[EXPLODED] > 0) | why.str.startswith((EXPLODED, "overflow")),
            (share[DEAD] >= DEAD_SHARE) | why.str.startswith((DEAD, "no sequence has two lags", "exactly 0")),
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
    """Compute the mean over the seeds that are alive, at each `x` that every seed has reached.

    Args:
        table: a row per seed and x, with the columns seed, unit, overlap, value and status.
        x: name of the column along which the mean runs.
        geometric: whether to compute the geometric mean.

    Returns:
        Indexed by x: mean, low, high, n (seeds in the mean), dead and exploded (numbers of seeds).
    """
    runs = ["unit", "seed"]
    table = table.drop_duplicates([x, *runs], keep="last")
    values = table.assign(value=table.value.where(table.status == ALIVE)).pivot(
        index=x, columns=runs, values="value"
    )
    status = table.pivot(index=x, columns=runs, values="status")
    complete = status.notna().all(axis=1)
    compute = geometric_intervals if geometric else mean_intervals
    means = compute(mean_by_unit(values[complete]).to_numpy(dtype=float), overlap=overlap(table))
    counts = {name: (status[complete] == name).sum(axis=1).to_numpy() for name in (DEAD, EXPLODED)}
    return means.assign(**counts).set_index(values.index[complete])


def format_lost(table: pd.DataFrame) -> str:
    """Format the seeds that are not alive, such as "1 of 5 dead"; "" if there are none.

    Args:
        table: a row per seed with the column status.
    """
    counts = {name: int((table.status == name).sum()) for name in (DEAD, EXPLODED, UNDEFINED)}
    return ", ".join(f"{count} of {len(table)} {name}" for name, count in counts.items() if count)


def lost_by_variant(table: pd.DataFrame) -> str:
    """Return a sentence for a caption on the seeds that are not in the last mean; "" if there are none."""
    by = [name for name in ("tested", "step") if name in table]
    last = table.sort_values(by, kind="stable").drop_duplicates("run_id", keep="last")
    parts = [
        f"{words.variant(variant)} {lost}"
        for variant in style.order(last.variant)
        if (lost := format_lost(last[last.variant == variant]))
    ]
    return f" Not in the means, at the end: {'; '.join(parts)}." if parts else ""


def longest(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last condition in order: the longest lag."""
    return table[table.condition == study.conditions(table)[-1]]


def ends(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the first measurement of each run under `START`, and that of its tested weights under `END`.

    A run without a measurement of the tested weights has its last one under `END`.
    """
    ordered = table.sort_values(["tested", "step"], kind="stable")
    return {
        START: ordered[(ordered.step == 0) & ~ordered.tested],
        END: ordered[ordered.step > 0].drop_duplicates("run_id", keep="last"),
    }


def mean_curve(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the geometric mean of curves over seeds, at the lags that all seeds have.

    Args:
        table: measurements of kind "curve" in the column payload; other kinds are ignored.

    Returns:
        Indexed by lag: mean, low, high.
    """
    curves = table[[row["kind"] == "curve" for row in table.payload]]
    if curves.empty:
        return pd.DataFrame(columns=["mean", "low", "high"])
    columns = [pd.Series(row["y"], index=row["x"], dtype=float) for row in curves.payload]
    wide = mean_by_unit(pd.concat(columns, axis=1, join="inner", keys=list(curves.unit)))
    means = geometric_intervals(wide.to_numpy(dtype=float), overlap=overlap(curves)).set_index(wide.index)
    return means[["mean", "low", "high"]]
