"""A generator of synthetic records, in the format that gatescope.tracking writes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

STUDY = {
    "name": "toy",
    "question": "Which of these is better?",
    "primary": "test/accuracy",
    "direction": "max",
    "baseline": {"name": "linear model", "value": 0.757, "source": "TF-IDF and logistic regression"},
}


def write_run(
    root: Path,
    variant: str,
    seed: int,
    *,
    study: dict[str, Any] | None = None,
    accuracy: float | None = 0.7,
    status: str = "finished",
    commit: str | None = "a" * 40,
    data: dict[str, Any] | None = None,
    epochs: int = 4,
    readings: Iterable[dict[str, Any]] | None = None,
    started: str = "2026-01-01T00:00:00+00:00",
    suffix: str = "",
    reason: str | None = None,
) -> Path:
    study = {**STUDY, **(study or {})}
    data = {"_target_": "gatescope.data.tweets.Tweets"} | (data or {})
    cell, _, attention = variant.rpartition("-")
    slug = "".join(c if c.isalnum() else "_" for c in f"{variant}-{sorted(map(str, data.values()))}")
    run_id = f"{slug}-s{seed}{suffix}"
    folder = root / study["name"] / run_id
    folder.mkdir(parents=True)
    summary = (
        {} if status != "finished" else {"test/accuracy": accuracy, "seconds_per_epoch": 2.0 + seed / 10}
    )
    run = {
        "run_id": run_id, "study": study["name"], "status": status,
        "exit_code": 0 if status == "finished" else 1, "reason": reason, "started": started,
        "ended": None, "seconds": 12.5, "command": ["/x/train.py", f"study={study['name']}"],
        "host": "here", "pid": 1, "git": {"commit": commit, "dirty": False},
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "tags": {"cell": cell, "attention": attention, "data": "tweets", "seed": seed, "variant": variant},
        "task": {"kind": "classification", "metric": "accuracy", "direction": "max"},
        "parameters": {"total": 123456, "stack": 50000, "hidden_size": 64}, "summary": summary,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    config = {"study": study, "data": data, "trainer": {"gradient_clip_val": 1.0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    level = 0.6 if accuracy is None or not math.isfinite(accuracy) else accuracy
    rows: list[dict[str, Any]] = [{"step": 0, "epoch": 0, "time": 0.1, "train/loss": 1.1}]
    for epoch in range(epochs):
        step = (epoch + 1) * 10
        rise = 1 - math.exp(-(epoch + 1))
        rows.append({"step": step, "epoch": epoch, "time": 1.0 * step, "train/loss": 1.1 - 0.5 * rise})
        validation = {"validation/accuracy": 0.4 + (level - 0.4) * rise, "validation/loss": 1.1 - 0.4 * rise}
        rows.append({"step": step, "epoch": epoch, "time": 1.0 * step, **validation})
    if status == "finished":
        rows.append({"step": epochs * 10, "epoch": epochs, "time": 99.0, "test/accuracy": accuracy})
    write_lines(folder / "metrics.jsonl", rows)
    write_lines(folder / "readings.jsonl", sample_readings(cell, seed) if readings is None else readings)
    return folder


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def sample_readings(cell: str, seed: int, units: int = 24) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    gates = {"gru": ["update", "reset"], "lstm": ["input", "forget", "output"]}.get(cell, ["state"])
    rows: list[dict[str, Any]] = []
    for step in (0, 20, 40):
        at = {"step": step, "epoch": step // 10}
        for gate in gates:
            right, left = rng.beta(1, 4, units), rng.beta(1, 3, units)
            columns = {"right": list(right * (1 - left)), "left": list(left)}
            rows.append(
                at | {"name": f"gates/layer0/{gate}/saturation", "kind": "points", "columns": columns}
            )
    for step in range(1, 41):
        at = {"step": step, "epoch": step // 10}
        norm = float(np.exp(rng.normal(0.3, 0.4)))
        values = {
            "gradient_norm/before_clip": norm,
            "gradient_norm/after_clip": min(norm, 1.0),
            "gradient_norm/layer0/recurrent_weights/update": norm * 0.3,
            "gradient_norm/layer0/recurrent_weights/candidate": norm * 0.2,
        }
        rows += [at | {"name": name, "kind": "scalar", "value": value} for name, value in values.items()]
    return rows


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Six variants × five seeds of a comparison; returns the root."""
    level = {"rnn": 0.68, "gru": 0.74, "lstm": 0.735}
    rng = np.random.default_rng(0)
    for cell, base in level.items():
        for attention, gain in (("none", 0.0), ("additive", 0.012)):
            for seed in range(5):
                accuracy = base + gain + 0.004 * float(rng.normal())
                write_run(tmp_path, f"{cell}-{attention}", seed, accuracy=accuracy)
    return tmp_path


WriteRun = Callable[..., Path]
