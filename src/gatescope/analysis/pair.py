"""Two runs side by side: what differs in their configs, their results, and their curves."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.figures.base import canvas
from gatescope.analysis.runs import RECORD, RUN_COLUMNS, NoRuns, RunSource, Tables
from gatescope.tracking import variants

CURVES = "validation/.*|train/loss"
FACTS = ("study", "status", "reason", "started", "seconds", "parameters", "commit", "directory")
NOT_CONFIG = {"root", "force", "tracking"}
"""Of a config: what says where a run goes and not what it is."""

LOOKS = (("#1f5fa8", "-"), ("#c8500a", (0, (4.0, 1.6))))
COLUMNS = 3


def find(root: str | Path, name: str) -> Path:
    """The directory of a run, by its path or, under `<root>/<study>/`, by its id.

    Raises:
        NoRuns: there is no such run (the nearest ids are named), or there are several.
    """
    for path in (Path(name), Path(name).parent):
        if any((path / file).is_file() for file in RECORD):
            return path.resolve()
    directories = {path.parent for file in RECORD for path in Path(root).glob(f"*/*/{file}")}
    found = sorted(directory for directory in directories if directory.name == name)
    if len(found) > 1:
        raise NoRuns(f"{name} is in several studies, give a path: {', '.join(map(str, found))}")
    if found:
        return found[0]
    ids = sorted({directory.name for directory in directories})
    near = difflib.get_close_matches(name, ids, n=5, cutoff=0.3)
    hint = f"nearest: {', '.join(near)}" if near else "there are no runs; root=PATH names another place"
    raise NoRuns(f"no run {name!r} under {root}; {hint}")


class Pair:
    """
    Args:
        a, b: directories of two runs.
        curves: regular expression of the metrics and scalar readings that are shown over training.
    """

    def __init__(self, a: Path, b: Path, curves: str = CURVES) -> None:
        self.tables: list[Tables] = [RunSource(path).tables() for path in (a, b)]
        self.runs: list[pd.Series] = [tables.runs.iloc[0] for tables in self.tables]
        known = {
            i: tables.identities[run.run_id]
            for i, (tables, run) in enumerate(zip(self.tables, self.runs, strict=True))
        }
        self.labels: list[variants.Label] = list(variants.labels(known).values())
        self.curves = curves

    def facts(self) -> pd.DataFrame:
        """Rows by fact, columns A and B."""
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
        """The leaves of the resolved configs that differ, dotted names, columns A and B."""
        flat = [dict(variants.leaves(next(iter(tables.configs.values())))) for tables in self.tables]
        names = [name for name in dict.fromkeys([*flat[0], *flat[1]]) if name.split(".")[0] not in NOT_CONFIG]
        rows = {name: [leaves.get(name, "(absent)") for leaves in flat] for name in names}
        return pd.DataFrame.from_dict(
            {name: row for name, row in rows.items() if row[0] != row[1]}, orient="index", columns=["A", "B"]
        )

    def metrics(self) -> pd.DataFrame:
        """The summaries: columns A, B and B − A; NaN where a run has none."""
        columns = [[c for c in tables.runs.columns if c not in RUN_COLUMNS] for tables in self.tables]
        names = sorted({*columns[0], *columns[1]})
        rows = {name: [float(run.get(name, math.nan)) for run in self.runs] for name in names}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["A", "B"])
        return table.assign(**{"B − A": table.B - table.A})

    def over_training(self) -> dict[str, pd.DataFrame]:
        """By name of a metric or scalar reading: a row a step, columns A and B, NaN where a value lacks."""
        found: dict[str, pd.DataFrame] = {}
        series = [_series(tables, self.curves) for tables in self.tables]
        for name in sorted({*series[0], *series[1]}):
            columns = [own.get(name, pd.Series(dtype=float)) for own in series]
            found[name] = pd.concat(columns, axis=1, keys=["A", "B"]).sort_index()
        return found

    def text(self, points: int = 6) -> str:
        """All of it for a terminal; of each curve so many steps, evenly chosen, and the value last logged."""
        config, metrics = self.config(), self.metrics()
        parts = [_table(self.facts())]
        parts.append("config\n" + _table(config) if len(config) else "config: no differences")
        parts.append("metrics\n" + _table(metrics) if len(metrics) else "metrics: none")
        for name, curve in self.over_training().items():
            held = curve.ffill()
            last = len(held) - 1
            rows = sorted({round(i * last / max(points - 1, 1)) for i in range(points)})
            parts.append(f"{name} by step\n" + _table(held.iloc[rows]))
        return "\n\n".join(parts)

    def draw(self) -> Figure:
        """A panel a curve, A solid, B dashed.

        Raises:
            NoRuns: neither run has logged a curve.
        """
        curves = self.over_training()
        if not curves:
            raise NoRuns(f"neither run has logged anything named {self.curves}")
        columns = min(COLUMNS, len(curves))
        lines = math.ceil(len(curves) / columns)
        with canvas(style.TWO_COLUMNS, 0.5 + 1.7 * lines) as figure:
            for place, (name, curve) in enumerate(curves.items(), start=1):
                axes = figure.add_subplot(lines, columns, place)
                for (label, values), (color, dashes) in zip(curve.items(), LOOKS, strict=True):
                    known = values.dropna()
                    axes.plot(
                        known.index,
                        known,
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
    measurements = tables.measurements[tables.measurements.kind == "scalar"]
    table = pd.concat([tables.metrics[["name", "step", "value"]], measurements[["name", "step", "value"]]])
    table = table[table.name.map(lambda name: re.fullmatch(pattern, name) is not None).astype(bool)]
    last = table.drop_duplicates(["name", "step"], keep="last")
    return {str(name): own.set_index("step").value for name, own in last.groupby("name")}


def _table(table: pd.DataFrame) -> str:
    shown = [["", *map(str, table.columns)]]
    shown += [[str(name), *map(_cell, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
