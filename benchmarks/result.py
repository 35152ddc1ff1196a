"""What a benchmark found: printed as a table, written as JSON beside the machine it was measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.timing import Ratio
from gatescope.tracking.provenance import git_state, versions


@dataclass
class Result:
    """`rows`: one a line of the table. `bars`: what is asked of a row's `ratio`, by its `measure`; a row
    without one is for information."""

    name: str
    question: str
    settings: Mapping[str, Any]
    bars: Mapping[str, Bar] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, case: str, measure: str, found: Ratio) -> None:
        self._row(case, measure, found.median, asdict(found))

    def add_value(self, case: str, measure: str, ratio: float, **values: float) -> None:
        """A ratio that was not repeated, with the values it is made of."""
        self._row(case, measure, ratio, values)

    def _row(self, case: str, measure: str, ratio: float, values: Mapping[str, float]) -> None:
        bar = self.bars.get(measure)
        row = {"case": case, "measure": measure, **values, "ratio": ratio}
        row.pop("median", None)
        self.rows.append(row | ({} if bar is None else {"bar": str(bar), "met": bar.met(ratio)}))

    def table(self) -> str:
        table = pd.DataFrame(self.rows)
        return f"{self.name}: {self.question}\n" + table.to_string(
            index=False, na_rep="", float_format=lambda value: f"{value:.3g}"
        )

    def write(self, folder: Path) -> Path:
        """<folder>/<name>.json"""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        content = {
            "name": self.name,
            "question": self.question,
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "settings": dict(self.settings),
            "rows": self.rows,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path


@dataclass(frozen=True)
class Bar:
    """`at_most` or `at_least` this much."""

    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )

    def __str__(self) -> str:
        parts = [(sign, bound) for sign, bound in (("<=", self.at_most), (">=", self.at_least)) if bound]
        return " ".join(f"{sign} {bound:g}" for sign, bound in parts)


def machine() -> dict[str, Any]:
    """Processor, cores, load before, threads, versions and commit."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "git": git_state(),
    }


def cpu_name() -> str:
    """The model's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
