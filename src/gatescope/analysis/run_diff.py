"""Comparison of two runs: the differences of their configs, and their results and curves side by side."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.figures import canvas
from gatescope.analysis.runs import NoRuns, RunSource
from gatescope.analysis.tables import RUN_COLUMNS, Tables
from gatescope.tracking import variants

CURVES = "validation/.*|train/loss"
"""Regular expression of the curves that are shown by default."""
FACTS = ("study", "status", "reason", "started", "seconds", "parameters", "commit", "directory")
NOT_CONFIG = {"root", "force", "tracking"}
"""Sections of a config that say where a run is recorded, and do not define it."""

LINE_STYLES = (("#1f5fa8", "-"), ("#c8500a", (0, (4.0, 1.6))))
"""Colour and line style of run A and run B."""
PANELS_PER_ROW = 3


class RunDiff:
    """The comparison of two runs, A and B.

    Args:
        a: Directory of run A.
        b: Directory of run B.
        curves: Regular expression of the metrics and scalar measurements that are shown over training.
    """

    def __init__(self, a: Path, b: Path, curves: str = CURVES) -> None:
        self.tables: list[Tables] = [RunSource(path).tables() for path in (a, b)]
        self.runs: list[pd.Series] = [tables.runs.iloc[0] for tables in self.tables]
        identities = {
            i: tables.identities[run.run_id]
            for i, (tables, run) in enumerate(zip(self.tables, self.runs, strict=True))
        }
        self.labels: list[variants.Label] = list(variants.labels(identities).values())
        self.curves = curves

    def facts(self) -> pd.DataFrame:
        """Return the facts of both runs: one row per fact, columns A and B."""
        rows = {
            "run": [run.run_id for run in self.runs],
            "variant": [label.variant for label in self.labels],
            "condition": [label.condition or None for label in self.labels],
            **{name: [self._fact(i, name) for i in (0, 1)] for name in FACTS},
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=["A", "B"])

    def _fact(self, i: int, name: str) -> Any:
        value = self.tables[i].study["name"] if name == "study" else self.runs[i][name]
        return None if isinstance(value, float) and math.isnan(value) else value

    def config(self) -> pd.DataFrame:
        """Return the keys of the resolved configs that differ, by dotted name, columns A and B."""
        flat = [dict(variants.leaves(next(iter(tables.configs.values())))) for tables in self.tables]
        names = [name for name in dict.fromkeys([*flat[0], *flat[1]]) if name.split(".")[0] not in NOT_CONFIG]
        rows = {name: [leaves.get(name, "(absent)") for leaves in flat] for name in names}
        return pd.DataFrame.from_dict(
            {name: row for name, row in rows.items() if row[0] != row[1]}, orient="index", columns=["A", "B"]
        )

    def metrics(self) -> pd.DataFrame:
        """Return the summaries of both runs: columns A, B and B − A, NaN for a metric that a run lacks."""
        columns = [[c for c in tables.runs.columns if c not in RUN_COLUMNS] for tables in self.tables]
        texts = {c for run in self.runs for c in run.index if isinstance(run[c], str)}  # identities of splits
        names = sorted({*columns[0], *columns[1]} - texts)
        rows = {name: [float(run.get(name, math.nan)) for run in self.runs] for name in names}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["A", "B"])
        return table.assign(**{"B − A": table.B - table.A})

    def over_training(self) -> dict[str, pd.DataFrame]:
        """Return the curves by name: one row per step, columns A and B, NaN where a run has no value."""
        curves: dict[str, pd.DataFrame] = {}
        series = [_series(tables, self.curves) for tables in self.tables]
        for name in sorted({*series[0], *series[1]}):
            columns = [own.get(name, pd.Series(dtype=float)) for own in series]
            curves[name] = pd.concat(columns, axis=1, keys=["A", "B"]).sort_index()
        return curves

    def text(self, points: int = 6) -> str:
        """Return the comparison as text for a terminal.

        Args:
            points: Number of evenly spaced steps of each curve; a step shows the value that was logged last.
        """
        config, metrics = self.config(), self.metrics()
        parts = [_format_table(self.facts())]
        parts.append("config\n" + _format_table(config) if len(config) else "config: no differences")
        parts.append("metrics\n" + _format_table(metrics) if len(metrics) else "metrics: none")
        for name, curve in self.over_training().items():
            filled = curve.ffill()
            last = len(filled) - 1
            rows = sorted({round(i * last / max(points - 1, 1)) for i in range(points)})
            parts.append(f"{name} by step\n" + _format_table(filled.iloc[rows]))
        return "\n\n".join(parts)

    def draw(self) -> Figure:
        """Draw one panel per curve, with a solid line for run A and a dashed line for run B.

        Raises:
            NoRuns: Neither run has logged a curve.
        """
        curves = self.over_training()
        if not curves:
            raise NoRuns(f"neither run has logged a value with a name that matches curves={self.curves}")
        columns = min(PANELS_PER_ROW, len(curves))
        rows = math.ceil(len(curves) / columns)
        with canvas(style.TWO_COLUMNS, 0.5 + 1.7 * rows) as figure:
            for place, (name, curve) in enumerate(curves.items(), start=1):
                axes = figure.add_subplot(rows, columns, place)
                for (label, values), (color, dashes) in zip(curve.items(), LINE_STYLES, strict=True):
                    logged = values.dropna()
                    axes.plot(
                        logged.index,
                        logged,
                        color=color,
                        linestyle=dashes,
                        label=f"{label}: {self._name(str(label))}",
                    )
                axes.set_title(style.escape(name))
                axes.set_xlabel("step")
            figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return figure

    def _name(self, label: str) -> str:
        return style.escape(str(self.runs["AB".index(label)].run_id))


def _series(tables: Tables, pattern: str) -> dict[str, pd.Series]:
    """Return the metrics and scalar measurements whose names match `pattern`, by name: values by step."""
    measurements = tables.measurements[tables.measurements.kind == "scalar"]
    table = pd.concat([tables.metrics[["name", "step", "value"]], measurements[["name", "step", "value"]]])
    table = table[table.name.map(lambda name: re.fullmatch(pattern, name) is not None).astype(bool)]
    last = table.drop_duplicates(["name", "step"], keep="last")
    return {str(name): own.set_index("step").value for name, own in last.groupby("name")}


def _format_table(table: pd.DataFrame) -> str:
    cells = [["", *map(str, table.columns)]]
    cells += [
        [str(name), *map(_format_cell, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _format_cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
