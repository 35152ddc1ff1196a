"""Measurements and predictions as W&B shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import wandb

from gatescope.data.datamodule import SequenceData
from gatescope.instruments.measurements import (
    Curve,
    Heatmap,
    Histogram,
    Measurement,
    Measurements,
    Points,
    Scalar,
    chart_of,
)
from gatescope.tracking import predictions

MAX_CLASSES = 50
"""Largest number of classes of a confusion matrix: 50 classes and 12,000 examples take 0.9 s at the end of a
run, and 100 classes reach W&B's limit of 10,000 rows per table."""
MAX_ERRORS = 20
"""Number of rows of the table of the worst errors."""
PIXELS = 4
"""Width and height in pixels of a value of a heatmap."""


def measurement_row(measurements: Measurements) -> dict[str, Any]:
    """Return the row of W&B's history for the measurements of one probe.

    Scalars and histograms keep their names, curves share line charts, points become histograms, and heatmaps
    become images.
    """
    row: dict[str, Any] = {}
    charts: dict[str, dict[str, Curve]] = {}
    for name, measurement in measurements.items():
        if isinstance(measurement, Curve):
            charts.setdefault(chart_of(name, measurement.x_label), {})[name.rpartition("/")[2]] = measurement
        else:
            row |= to_wandb(name, measurement)
    return row | {name: line_chart(name, curves) for name, curves in charts.items()}


def to_wandb(name: str, measurement: Measurement) -> dict[str, Any]:
    """Return W&B's values for a measurement by name; none for undefined ones and for curves.

    Args:
        name: Name of the measurement.
        measurement: The measurement.
    """
    match measurement:
        case Scalar(value):
            return {name: value}
        case Histogram(edges, counts):
            return {name: wandb.Histogram(np_histogram=(np.asarray(counts), np.asarray(edges)))}
        case Points(columns):
            # A scatter chart needs a table, a file and an artifact each time; record and report have it.
            return {f"{name}/{column}": _histogram(values) for column, values in columns.items() if values}
        case Heatmap():
            return {name: _image(measurement)}
        case _:
            return {}


def line_chart(name: str, curves: Mapping[str, Curve]) -> Any:
    """Return a chart of several curves, each with its lower and upper bounds.

    Args:
        name: Title of the chart.
        curves: Curves by name.
    """
    rows: list[list[Any]] = []
    for key, curve in curves.items():
        for line, ys in ((key, curve.y), (f"{key}, low", curve.low), (f"{key}, high", curve.high)):
            if ys is not None:
                finite = (y if math.isfinite(y) else None for y in ys)
                rows += [[x, line, y] for x, y in zip(curve.x, finite, strict=True)]
    x_label = next(iter(curves.values())).x_label
    chart = wandb.plot.line_series([rows[0][0]], [[0.0]], keys=[rows[0][1]], title=name, xname=x_label)
    # W&B would infer the types of the columns again for every row, which doubles the time of logging. The
    # types of the first row hold for all.
    chart.table.data = rows
    return chart


def _histogram(values: list[float]) -> wandb.Histogram:
    """Return a histogram of the finite values."""
    finite = np.asarray([v for v in values if v is not None and math.isfinite(v)], dtype=float)
    return wandb.Histogram(np_histogram=np.histogram(finite, bins=32))


def _image(heatmap: Heatmap) -> wandb.Image:
    """Return an image with a block of pixels per value; the largest value is the lightest.

    A table takes thirty times as long to log, and W&B cannot show one as a heatmap.
    """
    from matplotlib import colormaps

    values = np.asarray(heatmap.values)
    low, high = values.min(), values.max()
    colours = colormaps["viridis"]((values - low) / (high - low or 1))[..., :3]
    pixels = (255 * colours).astype(np.uint8).repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
    caption = (
        f"{heatmap.y_label} down, {heatmap.x_label} across, {low:.3g} to {high:.3g}: {' '.join(heatmap.x)}"
    )
    return wandb.Image(pixels, caption=caption)


def prediction_row(columns: predictions.Columns, data: SequenceData) -> dict[str, Any]:
    """Return a table of the worst errors, and the confusion matrix of a classification.

    Args:
        columns: Predictions of the test split.
        data: Data with the texts of the test split.
    """
    row: dict[str, Any] = {"test/worst_errors": _error_table(columns, data)}
    names = predictions.classes(columns)
    if 0 < len(names) <= MAX_CLASSES:
        row["test/confusion_matrix"] = _confusion_matrix(columns, names)
    return row


def _confusion_matrix(columns: predictions.Columns, names: list[str]) -> Any:
    """Return W&B's own chart."""
    indices = {name: i for i, name in enumerate(names)}
    true, predicted = ([indices[name] for name in columns[part]] for part in ("target", "prediction"))
    title = "Confusion matrix of the test split"
    return wandb.plot.confusion_matrix(y_true=true, preds=predicted, class_names=names, title=title)


def _error_table(columns: predictions.Columns, data: SequenceData) -> wandb.Table:
    """Return a table with a row per error, the worst first."""
    rows = predictions.error_rows(columns, predictions.worst(columns, MAX_ERRORS))
    texts = data.texts("test", [int(row["id"]) for row in rows])
    names = [name for name in columns if not name.startswith("p(") and name != "also"]
    cells = [[row[n].item() if isinstance(row[n], np.generic) else row[n] for n in names] for row in rows]
    return wandb.Table(
        columns=[*names, "text"], data=[[*row, text] for row, text in zip(cells, texts, strict=True)]
    )
