"""Synthetic records in the format of gatescope.tracking."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gatescope.tracking import predictions

LABELS = ("negative", "neutral", "positive")
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
    measurements: Iterable[dict[str, Any]] | None = None,
    started: str = "2026-01-01T00:00:00+00:00",
    suffix: str = "",
    reason: str | None = None,
    config: dict[str, Any] | None = None,
    validation: float | None = None,
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
    if validation is not None:
        summary["best/validation/accuracy"] = validation
    run = {
        "run_id": run_id, "study": study["name"], "status": status,
        "exit_code": 0 if status == "finished" else 1, "reason": reason, "started": started,
        "ended": None, "seconds": 12.5 + 3 * len(cell) + seed,
        "command": ["/x/train.py", f"study={study['name']}"],
        "host": "here", "pid": 1, "git": {"commit": commit, "dirty": False},
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "tags": {"cell": cell, "attention": attention, "data": "tweets", "seed": seed, "variant": variant},
        "task": {"kind": "classification", "metric": "accuracy", "direction": "max"},
        "parameters": {"total": 123456, "between": 60000, "stack": 50000, "hidden_size": 64},
        "summary": summary,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    whole = {"study": study, "data": data, "trainer": {"gradient_clip_val": 1.0}} | (config or {})
    (folder / "config.yaml").write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
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
    write_lines(
        folder / "readings.jsonl", sample_readings(cell, seed) if measurements is None else measurements
    )
    return folder


def write_predictions(
    folder: Path, seed: int, labels: Sequence[str] = LABELS, count: int = 120, accuracy: float = 0.7
) -> dict[str, Any]:
    """Write predictions of a classification: the same examples for every seed; the last two are wrong."""
    rng, luck = np.random.default_rng(0), np.random.default_rng(100 + seed)
    true = rng.integers(0, len(labels), count)
    right = luck.random(count) < accuracy
    right[-2:] = False
    predicted = np.where(right, true, (true + 1 + luck.integers(0, len(labels) - 1, count)) % len(labels))
    probabilities = luck.dirichlet(np.ones(len(labels)), count)
    top = probabilities.argmax(1)
    rows = np.arange(count)
    probabilities[rows, predicted], probabilities[rows, top] = (
        probabilities[rows, top],
        probabilities[rows, predicted],
    )
    columns: dict[str, Any] = {"id": rows, "loss": -np.log(probabilities[rows, true])}
    columns |= {"target": [labels[i] for i in true], "prediction": [labels[i] for i in predicted]}
    columns |= {f"p({name})": probabilities[:, i] for i, name in enumerate(labels)}
    name, content = predictions.encode(columns)
    (folder / name).write_bytes(content)
    return columns


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def sample_readings(cell: str, seed: int, units: int = 24) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    gates = {"gru": ["update", "reset"], "lstm": ["input", "keep", "output"]}.get(cell, ["state"])
    rows: list[dict[str, Any]] = []
    for step in (0, 20, 40):
        at = {"step": step, "epoch": step // 10}
        values = {"entropy": 0.9 - step / 200, "effective_length": 12.0 - step / 10, "distance": 6.0}
        attention = [("attention/" + name, value + 0.01 * seed) for name, value in values.items()]
        rows += [at | {"name": name, "kind": "scalar", "value": value} for name, value in attention]
        for gate in gates:
            edges = np.linspace(0, 1, 21)
            counts, _ = np.histogram(rng.beta(2 + step / 10, 2, 500), edges)
            histogram = {"kind": "histogram", "edges": edges.tolist(), "counts": counts.tolist()}
            rows.append(at | {"name": f"gates/layer0/{gate}/histogram"} | histogram)
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
            "gradient_norm/clipped_share": float(norm > 1.0),
            "gradient_norm/layer0/recurrent_weights/update": norm * 0.3,
            "gradient_norm/layer0/recurrent_weights/candidate": norm * 0.2,
        }
        rows += [at | {"name": name, "kind": "scalar", "value": value} for name, value in values.items()]
    return [*rows, *attention_readings(seed)]


def attention_readings(seed: int) -> list[dict[str, Any]]:
    """Return measurements of the faithfulness of attention, whose values and weights depend on the seed."""
    at = {"step": 40, "epoch": 4}
    values = {
        "tau/gradient_input/token": 0.3, "tau/leave_one_out/token": 0.2,
        "tau/integrated_gradients/token": 0.25,
        **{f"tau/{name}/token/permuted_spread": 0.02 for name in
           ("gradient_input", "leave_one_out", "integrated_gradients")},
        "permutation/total_variation": 0.1,
        "comprehensiveness/attention": 0.7,
        "comprehensiveness/random": 0.4, "sufficiency/attention": 0.6, "sufficiency/random": 0.5,
    }  # fmt: skip
    rows = [
        at | {"name": f"attention/{name}", "kind": "scalar", "value": value + 0.01 * seed}
        for name, value in values.items()
    ]
    shift = 0.02 * seed
    heatmap = {"kind": "heatmap", "x": ["0", "1", "2"], "y": ["4", "9"], "x_label": "step", "y_label": "id"}
    weights = [[0.5 - shift, 0.3, 0.2 + shift], [0.9 - shift, 0.1 + shift, 0.0]]
    return [*rows, at | {"name": "attention/weights", "values": weights} | heatmap]


def flow_readings(
    rates: tuple[float, float], length: int, seed: int, spread: float = 0.003, lost: str | None = None
) -> list[dict[str, Any]]:
    """Exponential curves exp(rate·lag), the rate going from the first to the second over steps 0 to 64; with
    `lost`, "dead" or "exploded", none from step 16 on."""
    rng = np.random.default_rng(seed)
    prefix, rows = "gradient_flow/layer0/loss_free_", []
    noise = float(rng.normal(0, spread))
    for place, step in enumerate((0, 1, 4, 16, 64)):
        rate = rates[0] + (rates[1] - rates[0]) * place / 4 + noise * (1 + 0.1 * place)
        lag = np.arange(length, dtype=float)
        y = np.exp(rate * lag)
        above = float(lag[y > 0.01][-1])
        at: dict[str, Any] = {"step": step, "epoch": 0}
        if lost and step >= 16:
            rows += [at | row for row in lost_readings(prefix, lost)]
            continue
        curve = {"x": lag.tolist(), "y": y.tolist(), "x_label": "lag (steps)", "y_label": "", "low": None}
        rows.append(at | {"name": f"{prefix}curve", "kind": "curve", "high": None} | curve)
        rows.append(at | {"name": f"{prefix}decay_rate", "kind": "scalar", "value": rate})
        rows.append(at | {"name": f"{prefix}reach", "kind": "scalar", "value": above})
        censored = float(above == length - 1)
        rows.append(at | {"name": f"{prefix}reach_censored", "kind": "scalar", "value": censored})
        life = (
            {"kind": "undefined", "why": "does not vanish"}
            if rate >= 0
            else {"kind": "scalar", "value": math.log(2) / -rate}
        )
        rows.append(at | {"name": f"{prefix}half_life", **life})
        scales = np.exp(rng.normal(1 + 0.3 * place - 2 * rates[1], 1, 30)).tolist()
        columns = {"rate": scales, "mean_keep": scales}
        rows.append(at | {"name": "gates/layer0/timescale", "kind": "points", "columns": columns})
    return rows


def lost_readings(prefix: str, lost: str) -> list[dict[str, Any]]:
    """What GradientFlow records of a layer whose gradient is dead or exploded in every example."""
    why = {"kind": "undefined", "why": f"{lost}: of most sequences"}
    start = {"kind": "curve", "x": [0.0], "y": [1.0], "x_label": "", "y_label": "", "low": None, "high": None}
    values = {"reach": 0.0, "reach_censored": 0.0} if lost == "dead" else {}
    values |= {"dead_share": float(lost == "dead"), "exploded_share": float(lost == "exploded")}
    return [
        {"name": f"{prefix}curve"} | (start if lost == "dead" else why),
        {"name": f"{prefix}decay_rate"} | why,
        {"name": f"{prefix}half_life"} | why,
        *({"name": prefix + name, "kind": "scalar", "value": value} for name, value in values.items()),
    ]


RATES = {
    "rnn": (-0.5, -0.3),
    "irnn": (-0.02, 0.01),
    "gru": (-0.3, -0.05),
    "lstm": (-0.4, -0.04),
    "lstm_chrono": (-0.05, -0.02),
    "minlstm": (-0.2, -0.03),
}
VANISHING = {
    "name": "vanishing",
    "question": "Which architectures carry a signal how far?",
    "baseline": None,
    "findings": "vanishing_gradients",
    "figures": ["vanishing_curves", "half_life_over_training", "accuracy_against_lag", "timescales"],
}


def write_vanishing(
    root: Path,
    seeds: int = 5,
    lags: tuple[int, ...] = (20, 50, 100),
    lost: dict[tuple[str, int], str] | None = None,
) -> None:
    """`lost`: by (cell, seed), "dead" or "exploded"."""
    rng = np.random.default_rng(1)
    for cell, rates in RATES.items():
        for lag in lags:
            for seed in range(seeds):
                accuracy = 0.125 + 0.875 / (1 + math.exp(0.05 * (lag - 20 / -rates[0]))) + 0.01 * rng.normal()
                data = {"_target_": "gatescope.data.copy.Copy", "lag": lag}
                write_run(
                    root, f"{cell}-none", seed, study=VANISHING, accuracy=float(accuracy), data=data,
                    measurements=flow_readings(rates, lag + 20, seed, lost=(lost or {}).get((cell, seed))),
                )  # fmt: skip


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Six variants × five seeds of a comparison; returns the root."""
    level = {"rnn": 0.68, "gru": 0.74, "lstm": 0.735}
    rng = np.random.default_rng(0)
    for cell, base in level.items():
        for attention, gain in (("none", 0.0), ("additive", 0.012)):
            for seed in range(5):
                accuracy = base + gain + 0.004 * float(rng.normal())
                folder = write_run(tmp_path, f"{cell}-{attention}", seed, accuracy=accuracy)
                write_predictions(folder, seed)
    return tmp_path


WriteRun = Callable[..., Path]
