"""The results of instruments: named values that the record, W&B and the figures can take.

A name is "<instrument>/<layer>/<quantity>", with slashes and without dots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

TESTED = "tested/"
"""Prefix of the measurements of the tested weights, which are those with the best validation metric."""


@dataclass(frozen=True)
class Scalar:
    """One finite number."""

    kind: ClassVar[str] = "scalar"
    value: float


@dataclass(frozen=True)
class Curve:
    """Values y over x, with an optional band.

    Attributes:
        x: positions on the x axis.
        y: one value for each position.
        x_label: label of the x axis, with the unit.
        y_label: label of the y axis, with the unit.
        low: lower bound of the band.
        high: upper bound of the band.
    """

    kind: ClassVar[str] = "curve"
    x: list[float]
    y: list[float]
    x_label: str
    y_label: str
    low: list[float] | None = None
    high: list[float] | None = None


@dataclass(frozen=True)
class Histogram:
    """Counts in bins, at most 64 of them; `edges` has one entry more than `counts`."""

    kind: ClassVar[str] = "histogram"
    edges: list[float]
    counts: list[float]


@dataclass(frozen=True)
class Points:
    """One point for each hidden unit or example: columns of equal length, by name."""

    kind: ClassVar[str] = "points"
    columns: dict[str, list[float]]


@dataclass(frozen=True)
class Heatmap:
    """A matrix of values.

    Attributes:
        values: rows of the matrix.
        x: label of each column.
        y: label of each row.
        x_label: label of the x axis.
        y_label: label of the y axis.
    """

    kind: ClassVar[str] = "heatmap"
    values: list[list[float]]
    x: list[str]
    y: list[str]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Undefined:
    """A measurement without a value, with the reason; used in place of NaN."""

    kind: ClassVar[str] = "undefined"
    why: str


Measurement = Scalar | Curve | Histogram | Points | Heatmap | Undefined
"""The result of one measurement."""
Measurements = dict[str, Measurement]
"""Measurements by name."""


def scalar(value: float, why: str = "not a finite number") -> Scalar | Undefined:
    """Return a Scalar, or Undefined with this reason where the value is NaN or infinite."""
    value = float(value)
    return Scalar(value) if math.isfinite(value) else Undefined(why)


def to_json(measurement: Measurement) -> dict[str, Any]:
    """Convert a measurement to the form it has in a row of `readings.jsonl`."""
    return {"kind": measurement.kind, **vars(measurement)}


def from_json(row: dict[str, Any]) -> Measurement:
    """Convert a row of `readings.jsonl` to a measurement."""
    kind = {each.kind: each for each in get_args(Measurement)}[row["kind"]]
    measurement: Measurement = kind(**{field.name: row[field.name] for field in fields(kind)})
    return measurement


def chart_of(name: str, x_label: str) -> str:
    """Return the name of the W&B chart of a curve.

    Curves of one prefix and one x axis share a chart, because each chart costs two files and an artifact for
    every measurement.
    """
    return f"{name.rpartition('/')[0]}/by_{x_label.split()[0]}"
