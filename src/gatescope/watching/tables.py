"""Tables of what was read of a module."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import pandas as pd

from gatescope.instruments.gates import GateStatistics
from gatescope.instruments.measurements import Curve, Measurement, Measurements, Points, Scalar, Undefined
from gatescope.watching.errors import WatchError
from gatescope.watching.readings import Readings, direction

CURVES = {"state": "curve", "h": "curve_h", "c": "curve_c"}
"""The names of the curves of the whole state and of its parts."""


def curve_table(readings: Readings, loss_free: bool) -> pd.DataFrame:
    """Return the vanishing curves of every layer; see `Readings.vanishing_curve`."""
    tables, why = [], ""
    for layer in readings.layers.traces:
        found = readings.gradient_measurements(layer, loss_free)
        for part, name in CURVES.items():
            curve = found.get(name)
            if isinstance(curve, Undefined):
                why = curve.why
            elif isinstance(curve, Curve):
                columns: dict[str, Any] = {"state": part, "lag": [int(lag) for lag in curve.x]}
                columns |= {"norm": curve.y, "low": curve.low, "high": curve.high}
                tables.append(pd.DataFrame(_place(readings, layer) | columns))
    if not tables:
        raise WatchError(
            f"{readings.name}: there is no vanishing curve ({why}); lags are counted from the last step of a "
            "sequence: pack padded sequences, or use loss_free=True"
        )
    return pd.concat(tables, ignore_index=True)


def summary_table(readings: Readings) -> pd.DataFrame:
    """Return a row for each layer and direction; see `Readings.summary`."""
    gates = readings.read(GateStatistics())
    rows = [_row(readings, layer, gates) for layer in readings.layers.traces]
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def _row(readings: Readings, layer: str, gates: Measurements) -> dict[str, Any]:
    cell, prefix = readings.layers.traces[layer].cell, f"gates/{layer}"
    row = _place(readings, layer) | {"cell": type(cell).__name__, "units": cell.hidden_size}
    for gate in (*cell.gate_names, "keep"):  # an LSTM's forget gate is recorded as keep
        row[gate] = _number(gates.get(f"{prefix}/{gate}/mean", gates.get(f"{prefix}/keep/mean")))
    saturation = gates.get(f"{prefix}/keep/saturation", gates.get(f"{prefix}/state/saturation"))
    if isinstance(saturation, Points):
        shares = [right + left for right, left in zip(*saturation.columns.values(), strict=True)]
        row["saturated"] = sum(shares) / len(shares)
    timescales = gates.get(f"{prefix}/timescale")
    if isinstance(timescales, Points):
        row["timescale"] = median(timescales.columns["rate"])
    flow = readings.gradient_measurements(layer, loss_free=not readings.has_gradient)
    row["gradient_norm"] = _number(flow["norm"]) if readings.has_gradient else math.nan
    return row | {name: _number(flow[name]) for name in ("half_life", "reach")}


def _place(readings: Readings, layer: str) -> dict[str, Any]:
    number = int(layer.removeprefix("layer").removesuffix("_backward"))
    return {"module": readings.name, "layer": number, "direction": direction(layer)}


def _number(measurement: Measurement | None) -> float:
    """Return a scalar's value; NaN for one that is undefined."""
    return measurement.value if isinstance(measurement, Scalar) else math.nan
