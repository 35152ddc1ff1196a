"""Measurements of dynamics for figures and findings: is there an attractor of the task's dimensions?

docs/instruments.md, "Dynamics", defines the quantities. The declared criterion of an attractor, in each run:
at
least `LEAST_POINTS` different slow points; of their variance at least `LEAST_SHARE` in as many dimensions as
the decision takes; along these they spread at least `LEAST_EXTENT` times as far as the states do; and as many
modes at them are slower than a sequence of median length is long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.intervals import Scale, clopper_pearson
from gatescope.analysis.outcomes import SolvedShare
from gatescope.analysis.statistics import Estimate
from gatescope.analysis.tables import NoData, Tables
from gatescope.analysis.units import unit_metric

LEAST_POINTS, LEAST_SHARE, LEAST_EXTENT = 10, 0.9, 0.5
POINTS, DIMENSION, EXTENT, SLOWNESS = "few points", "too many dimensions", "short", "fast"
"""What a run without an attractor lacks, in this order."""
RUN = ["run_id", "step", "tested"]
COLUMNS = ["run_id", "variant", "condition", "seed", "unit", "overlap"]
NEEDED = ("points", "fixed_points", "stable_points", "share", "extent", "slow_time_constant", "length")


@dataclass(frozen=True)
class Attractor:
    """The attractor of one variant under one condition, at the tested weights.

    Attributes:
        variant: the variant.
        condition: the condition.
        seeds: how many seeds have one.
        lacks: by what is lacking first, the number of seeds.
        first_step: median number of updates after which the seeds that have one have it to the end; NaN
            without.
        estimates: by quantity, mean and interval over seeds; NaN where no seed has a value.
    """

    variant: str
    condition: str
    seeds: SolvedShare
    lacks: dict[str, int]
    first_step: float
    estimates: dict[str, Estimate]


def measurements(tables: Tables, quantity: str) -> pd.DataFrame:
    """Return the measurements `dynamics/<top layer>/<quantity>` of all runs, and those of the tested weights.

    Args:
        tables: the tables.
        quantity: regular expression that the last part of the name matches.

    Raises:
        NoData: no finished run has one.
    """
    table = study.contenders(tables).with_tested(rf"dynamics/(layer\d+/)?({quantity})")
    if table.empty:
        raise NoData("no finished run has measurements of dynamics: choose instruments=dynamics")
    parts = table.name.str.split("/")
    depth = table.name.str.extract(r"/layer(\d+)/", expand=False).fillna("-1").astype(int)
    top = depth.groupby(table.run_id).transform("max")
    table = table.assign(quantity=parts.str[-1])
    return table[(depth == top) | (depth == -1)]


def by_run(tables: Tables) -> pd.DataFrame:
    """Return a row per run and measured step with the scalars in columns, `attractor` and `lacks`.

    Raises:
        NoData: no finished run has measurements of dynamics.
    """
    table = measurements(tables, "[a-z_]+")
    scalars = table[table.kind.isin(("scalar", "undefined"))]
    wide = scalars.pivot_table(index=RUN, columns="quantity", values="value", aggfunc="last", dropna=False)
    wide = wide.reset_index().reindex(columns=[*RUN, *dict.fromkeys([*NEEDED, *scalars.quantity.unique()])])
    rows = wide[wide.run_id.isin(table.run_id)].merge(table[COLUMNS].drop_duplicates(), on="run_id")
    rows = rows.merge(scalars[RUN].drop_duplicates(), on=RUN)
    rows["lacks"] = np.select(
        [
            ~(rows.points >= LEAST_POINTS),
            ~(rows["share"] >= LEAST_SHARE),
            ~(rows.extent >= LEAST_EXTENT),
            ~(rows.slow_time_constant >= rows.length),
        ],
        [POINTS, DIMENSION, EXTENT, SLOWNESS],
        "",
    )
    return rows.assign(attractor=rows.lacks == "").sort_values(["tested", "step"], kind="stable")


def scale_of(quantity: str) -> Scale:
    """Return where a quantity can vary."""
    if quantity.endswith("correlation"):
        return "correlation"
    shares = ("share", "accuracy", "agreement", "alignment", "alignment_chance")
    return "proportion" if quantity.endswith(shares) else "positive"


def tested(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each run: that of the tested weights where there is one."""
    return rows.drop_duplicates("run_id", keep="last")


def attractors(tables: Tables) -> list[Attractor]:
    """Summarise every variant under every condition.

    Raises:
        NoData: no finished run has measurements of dynamics.
    """
    rows = by_run(tables)
    last = tested(rows)
    quantities = [
        str(name) for name in last if pd.api.types.is_float_dtype(last[name]) and name not in COLUMNS
    ]
    found = []
    for condition in study.conditions(last):
        for variant in style.order(last.variant[last.condition == condition]):
            own = last[(last.condition == condition) & (last.variant == variant)]
            count = int(own.attractor.sum())
            seeds = SolvedShare(count, len(own), *clopper_pearson(count, len(own)))
            lacks = {str(what): int(n) for what, n in own.lacks[~own.attractor].value_counts().items()}
            estimates = {
                name: unit_metric(own.assign(value=own[name]), scale_of(name)) for name in quantities
            }
            having = rows[rows.run_id.isin(own.run_id[own.attractor]) & ~rows.tested]
            found.append(Attractor(variant, condition, seeds, lacks, _first_step(having), estimates))
    return found


def _first_step(rows: pd.DataFrame) -> float:
    """Return the median over runs of the first measured step from which on the attractor is always there."""
    firsts = []
    for _, own in rows.groupby("run_id"):
        missing = own.step[~own.attractor]
        later = own.step[own.step > (missing.max() if len(missing) else -1)]
        firsts.append(float(later.min()) if len(later) else np.inf)
    return float(np.median(firsts)) if firsts else float("nan")


def of_one_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the tested weights, the first condition and the seed that most variants have."""
    table = table.sort_values(["tested", "step"], kind="stable")
    table = table[table.condition == study.conditions(table)[0]]
    seed = table.groupby("seed").variant.nunique().idxmax()
    table = table[table.seed == seed]
    return table.drop_duplicates(["variant", "quantity"], keep="last")


def payloads(table: pd.DataFrame, kind: str) -> dict[str, dict[str, Any]]:
    """Return the recorded objects of one kind by variant, in table order."""
    own = table[table.kind == kind]
    found = dict(zip(own.variant, own.payload, strict=True))
    return {variant: found[variant] for variant in style.order(found)}
