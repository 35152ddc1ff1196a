"""What an instrument returns: named readings, each a plain value that the record, W&B and a figure can take.

A name is "<instrument>/<layer>/<quantity>" with slashes, never dots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

TESTED = "tested/"
"""Prefix of the names of readings of the weights that the test measures: those best on validation."""


@dataclass(frozen=True)
class Scalar:
    kind: ClassVar[str] = "scalar"
    value: float


@dataclass(frozen=True)
class Curve:
    """y over x, with a band where one is meaningful; `x_label` and `y_label` carry the units."""

    kind: ClassVar[str] = "curve"
    x: list[float]
    y: list[float]
    x_label: str
    y_label: str
    low: list[float] | None = None
    high: list[float] | None = None


@dataclass(frozen=True)
class Histogram:
    """Pre-binned, at most 64 bins: len(edges) == len(counts) + 1."""

    kind: ClassVar[str] = "histogram"
    edges: list[float]
    counts: list[float]


@dataclass(frozen=True)
class Points:
    """One point a unit (or example): equally long columns by name."""

    kind: ClassVar[str] = "points"
    columns: dict[str, list[float]]


@dataclass(frozen=True)
class Heatmap:
    kind: ClassVar[str] = "heatmap"
    values: list[list[float]]
    x: list[str]
    y: list[str]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Undefined:
    """A reading that has no value here, and why; never a NaN in a chart."""

    kind: ClassVar[str] = "undefined"
    why: str


Measurement = Scalar | Curve | Histogram | Points | Heatmap | Undefined
Measurements = dict[str, Measurement]


def scalar(value: float, why: str = "not a finite number") -> Scalar | Undefined:
    """A Scalar, or Undefined(why) when the value is NaN or infinite."""
    value = float(value)
    return Scalar(value) if math.isfinite(value) else Undefined(why)


def to_json(measurement: Measurement) -> dict[str, Any]:
    """The form in which a reading stands in `readings.jsonl`."""
    return {"kind": measurement.kind, **vars(measurement)}


def from_json(row: dict[str, Any]) -> Measurement:
    """The reading of a row of `readings.jsonl`."""
    kind = {each.kind: each for each in get_args(Measurement)}[row["kind"]]
    measurement: Measurement = kind(**{field.name: row[field.name] for field in fields(kind)})
    return measurement


def chart_of(name: str, x_label: str) -> str:
    """The chart of W&B that a curve is drawn in: one for all that stand beside it, along the same axis. Every
    chart is a table, two files and an artifact a look."""
    return f"{name.rpartition('/')[0]}/by_{x_label.split()[0]}"
