"""The rows of a record in the order in which they were logged."""

from __future__ import annotations

from itertools import groupby, islice
from pathlib import Path
from typing import Any

from gatescope.tracking.runfile import ROWS, read_rows


def read_calls(directory: Path) -> list[list[dict[str, Any]]]:
    """Return the rows of each call that logged something, in the order of the calls.

    A call wrote one row of metrics.jsonl, or the measurements of one probe. Records of older versions do not
    contain the order; their calls are sorted by step.

    Args:
        directory: Directory of the run.
    """
    metrics, measurements = (read_rows(directory / name) for name in ROWS)
    probes = [
        list(rows)
        for _, rows in groupby(measurements, lambda row: (row.get("order"), row["step"], row.get("epoch")))
    ]
    if not all("order" in probe[0] for probe in probes):
        return sorted([*([row] for row in metrics), *probes], key=lambda rows: rows[0]["step"])
    calls: list[list[dict[str, Any]]] = []
    remaining = iter(metrics)
    for probe in probes:
        calls += ([row] for row in islice(remaining, max(0, probe[0]["order"] - len(calls))))
        calls.append(probe)
    return [*calls, *([row] for row in remaining)]
