"""The result of a benchmark: printed as a table, and written as JSON with a description of the machine."""

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
    """The result of a benchmark.

    Attributes:
        name: Name of the benchmark.
        question: What is measured.
        settings: Sizes, and other settings.
        targets: Targets of the `ratio` of rows, by `measure`; rows without a target are for information.
        rows: Rows of the table.
    """

    name: str
    question: str
    settings: Mapping[str, Any]
    targets: Mapping[str, Target] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, case: str, measure: str, ratio: Ratio) -> None:
        """Add a row with a ratio of repeated timings."""
        self._row(case, measure, ratio.median, asdict(ratio))

    def add_value(self, case: str, measure: str, ratio: float, **values: float) -> None:
        """Add a row with a ratio that was measured once, and the values that it was computed from."""
        self._row(case, measure, ratio, values)

    def _row(self, case: str, measure: str, ratio: float, values: Mapping[str, float]) -> None:
        target = self.targets.get(measure)
        row = {"case": case, "measure": measure, **values, "ratio": ratio}
        row.pop("median", None)
        self.rows.append(row | ({} if target is None else {"target": str(target), "met": target.met(ratio)}))

    def table(self) -> str:
        """Return the rows as text."""
        table = pd.DataFrame(self.rows)
        return f"{self.name}: {self.question}\n" + table.to_string(
            index=False, na_rep="", float_format=lambda value: f"{value:.3g}"
        )

    def write(self, folder: Path) -> Path:
        """Write <folder>/<name>.json and return its path."""
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
class Target:
    """The target of a ratio: at most, or at least, a value."""

    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Return whether a value meets the target."""
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )

    def __str__(self) -> str:
        parts = [(sign, bound) for sign, bound in (("<=", self.at_most), (">=", self.at_least)) if bound]
        return " ".join(f"{sign} {bound:g}" for sign, bound in parts)


def machine() -> dict[str, Any]:
    """Return processor, cores, load before the benchmark, threads, versions and commit."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        # COMMIT names the commit where the sources are a copy without their history.
        "git": {"commit": given, "dirty": False} if (given := os.environ.get("COMMIT")) else git_state(),
    }


def cpu_name() -> str:
    """Return the name of the processor model, or of its architecture if the system does not provide it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
