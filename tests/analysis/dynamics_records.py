"""Synthetic records of dynamics: a GRU with a line attractor, an RNN that chooses between two points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .conftest import write_run

STUDY = {
    "name": "dynamics",
    "baseline": None,
    "findings": "dynamics",
    "figures": ["attractor", "time_constants", "attractor_over_training", "word_effects"],
}
LINE = {"points": 60.0, "fixed_points": 3.0, "stable_points": 2.0, "share": 0.97, "extent": 1.1,
        "slow_time_constant": 80.0, "length": 19.0, "slow_modes": 1.0, "alignment": 0.8,
        "alignment_chance": 0.125}  # fmt: skip
TWO_POINTS = LINE | {
    "points": 3.0,
    "share": 0.99,
    "slow_time_constant": 1.5,
    "slow_modes": 0.0,
    "alignment": 0.2,
}
TESTED = {"word_correlation": 0.9, "later_correlation": 0.92, "words": 500.0}
WORDS = ("bad", "worst", "dull", "the", "of", "film", "good", "great", "fun", "$1")


def rows(values: dict[str, float], seed: int, appears: int = 0) -> list[dict[str, Any]]:
    """Return the measurements of a run; before the step `appears` there are three points only."""
    found = []
    for step in (0, 1, 2, 4, 8, 16, 32):
        own = values if step >= appears else values | {"points": 3.0}
        found += [
            {
                "step": step,
                "epoch": 0,
                "name": f"dynamics/layer0/{name}",
                "kind": "scalar",
                "value": value * (1 + 0.001 * seed),
            }
            for name, value in own.items()
            if name not in ("share", "extent") or own["points"] >= 3
        ]
    at = {"step": 32, "epoch": 0}
    found += [
        at | {"name": f"tested/dynamics/layer0/{name}", "kind": "scalar", "value": value * (1 + 0.001 * seed)}
        for name, value in (values | TESTED).items()
    ]
    for name, value in {"linearised_accuracy": 0.84, "accuracy": 0.88, "agreement": 0.93}.items():
        found.append(
            at | {"name": f"tested/dynamics/{name}", "kind": "scalar", "value": value + 0.001 * seed}
        )
    return found + [at | row for row in shapes(int(values["points"]), values["slow_time_constant"], seed)]


def shapes(points: int, tau: float, seed: int) -> list[dict[str, Any]]:
    """Return the curve, the points, the walks and the words of the tested weights."""
    rng = np.random.default_rng(seed)
    first = np.linspace(-2, 2, points)
    line = [*first.tolist(), -2.0, 2.0]
    plane = {"first": line, "second": (0.05 * rng.normal(size=points + 2)).tolist(),
             "fixed": [0.0] * points + [1.0, 1.0]}  # fmt: skip
    walks: dict[str, list[float]] = {name: [] for name in ("example", "step", "first", "second", "target")}
    for example in range(4):
        path = np.cumsum(rng.normal(0.3 if example % 2 else -0.3, 0.2, 9))
        for step, value in enumerate(path):
            for name, one in zip(walks, (example, step, value, 0.2 * rng.normal(), example % 2), strict=True):
                walks[name].append(float(one))
    modes = np.arange(1, 25)
    taus = tau / modes**1.5
    weights = np.linspace(-2, 2, len(WORDS))
    effects = [[w * 0.1, w * 0.2 + 0.01 * rng.normal(), w, 50.0] for w in weights.tolist()]
    prefix = "tested/dynamics/layer0/"
    return [
        {"name": f"{prefix}time_constants", "kind": "curve", "x": modes.tolist(), "y": taus.tolist(),
         "x_label": "mode", "y_label": "time constant (steps)", "low": None, "high": None},
        {"name": f"{prefix}plane", "kind": "points", "columns": plane},
        {"name": f"{prefix}walks", "kind": "points", "columns": walks},
        {"name": f"{prefix}word_effects", "kind": "heatmap", "values": effects,
         "x": ["effect", "later", "weight", "count"], "y": list(WORDS),
         "x_label": "value", "y_label": "word"},
    ]  # fmt: skip


def write_dynamics(root: Path, seeds: int = 5) -> None:
    """Write the runs of three variants: two seeds of the LSTM have an attractor."""
    for seed in range(seeds):
        given = {"gru-none": rows(LINE, seed, 8), "rnn-none": rows(TWO_POINTS, seed)}
        given["lstm-none"] = rows(LINE if seed < 2 else LINE | {"extent": 0.1}, seed)
        for variant, measurements in given.items():
            write_run(
                root, variant, seed, study=STUDY, accuracy=0.85 + 0.001 * seed, measurements=measurements
            )
