"""What a command says when its runs have ended: what was found, the bar to clear, and the next commands.

Everything is read from the records. This module does not import torch.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.core.hydra_config import HydraConfig
from pydantic_core import from_json

from gatescope.invocation import command
from gatescope.tracking.identity import result_config, run_dir
from gatescope.tracking.outcomes import monitored, monitored_value, primary_metric
from gatescope.tracking.runfile import ROWS, read_rows, read_run
from gatescope.tracking.variants import canonical_json

BASELINES = {"tokens": "tfidf_logistic", "features": "series_logistic"}
"""The linear model to beat in a classification, by the inputs of the task."""

EXPLAINED = ("classification", "regression", "transduction")
"""Kinds of tasks of which one prediction can be explained."""


def lines_of_run(cfg: Mapping[str, Any]) -> list[str]:
    """Return what is said of a finished run: best epoch, comparison with a linear model, next commands."""
    directory = run_dir(cfg)
    run = read_run(directory)
    lines = [*_best_epoch(cfg, directory, run), *_bar(cfg, directory, run)]
    return [*lines, *_next(_commands_of_run(cfg, directory, run))]


def lines_of_sweep(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the next commands after a sweep."""
    if not configs:
        return []
    cfg = configs[0]
    report = f"{command('report')} study={cfg['study']['name']}{_root(cfg)}"
    return list(_next([report, *_sync([run_dir(one) for one in configs])]))


def _best_epoch(cfg: Mapping[str, Any], directory: Path, run: Mapping[str, Any]) -> Iterator[str]:
    """Yield in which epoch the validation metric was best, and what to raise if that was the last one."""
    summary = run.get("summary", {})
    name = f"validation/{monitored(run.get('task', {}))[0]}"
    rows = [row for row in read_rows(directory / ROWS[0]) if name in row and row.get("epoch") is not None]
    best = [row for row in rows if row["step"] == summary.get("best/step")]
    if not best or not isinstance(summary.get("steps"), int | float):
        return
    epoch, last, words = best[-1]["epoch"] + 1, rows[-1]["epoch"] + 1, name.replace("/", " ")
    if best[-1]["step"] < summary["steps"]:
        window = cfg.get("monitor_window", 1)
        mean = f", its mean over {window} validations," if window > 1 else ""
        yield f"{words}{mean} was best in epoch {epoch} of {last}; the weights of that epoch were tested"
    elif len(rows) > 1 and not _solved(cfg, directory) and (key := _limit(cfg, summary)) is not None:
        yield f"{words} was best at the end (epoch {epoch} of {last}) and may still improve: raise {key}"


def _solved(cfg: Mapping[str, Any], directory: Path) -> bool:
    """Return whether the metric reached the value at which training ends."""
    if (threshold := cfg["early_stopping"].get("threshold")) is None:
        return False
    value = monitored_value(directory)
    higher = monitored(read_run(directory).get("task", {}))[1] == "max"
    return value > threshold if higher else value < threshold


def _limit(cfg: Mapping[str, Any], summary: Mapping[str, Any]) -> str | None:
    """Return the key that ended the training; None if that was early stopping."""
    trainer = cfg["trainer"]
    if trainer["max_steps"] != -1 and summary["steps"] >= trainer["max_steps"]:
        return "trainer.max_steps"
    if trainer["max_epochs"] == "auto":  # in updates: their number per epoch is not recorded
        return "trainer.max_epochs" if cfg["early_stopping"]["patience"] is None else None
    if trainer["max_epochs"] != -1 and summary.get("epochs", 0) >= trainer["max_epochs"]:
        return "trainer.max_epochs"
    return "trainer.max_time" if trainer.get("max_time") is not None else None


def _bar(cfg: Mapping[str, Any], directory: Path, run: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a network stands beside the linear models of this study, or which one to run."""
    name, value = primary_metric(cfg, run)
    task = run.get("task", {})
    if "baseline" in cfg["model"] or value is None:
        return
    found = False
    for model, values in _baseline_values(cfg, directory.parent, name).items():
        found = True
        mean = fmean(values)
        better = value > mean if task.get("direction", "max") == "max" else value < mean
        stands = "equals" if value == mean else "is better than" if better else "is not better than"
        yield (
            f"{name.replace('/', ' ')} {value:.4g} {stands} {mean:.4g} of model={model} on the same data"
            f"{f' (mean of {len(values)} seeds)' if len(values) > 1 else ''}"
        )
    linear = BASELINES.get(str(task.get("inputs")))
    if not found and linear and task.get("kind") == "classification" and not task.get("multilabel"):
        yield f"a linear model to compare with: {command('train')} model={linear}{_words_of_data()}"


def _baseline_values(cfg: Mapping[str, Any], study: Path, metric: str) -> dict[str, list[float]]:
    """Return the values of the models without recurrence that this study has on the same data, by model."""
    data = canonical_json(result_config(cfg)["data"])
    values: dict[str, list[float]] = {}
    for path in sorted(study.glob("*/run.json")):
        run = read_run(path.parent)
        result = from_json(run.get("result_config") or "{}")
        value = run.get("summary", {}).get(metric)
        is_baseline = "baseline" in (result.get("model") or {})
        if is_baseline and canonical_json(result.get("data")) == data and isinstance(value, int | float):
            values.setdefault(str(result["model"]["name"]), []).append(float(value))
    return values


def _commands_of_run(cfg: Mapping[str, Any], directory: Path, run: Mapping[str, Any]) -> Iterator[str]:
    task, root = run.get("task", {}), _root(cfg)
    if "baseline" not in cfg["model"] and task.get("kind") in EXPLAINED:
        example = 'text="…"' if task.get("inputs") == "tokens" else "index=0"
        yield f"{command('explain')} run={directory.name}{root} {example}"
    yield f"{command('errors')} run={directory.name}{root}"
    yield f"{command('report')} study={cfg['study']['name']}{root}"
    yield from _sync([directory])


def _sync(directories: Sequence[Path]) -> Iterator[str]:
    """Yield the command that sends offline records of these runs to W&B, if there are any."""
    folder = directories[0].parent / "wandb"
    offline = [name for one in directories for name in folder.glob(f"offline-run-*-{one.name}")]
    if offline:
        pattern = offline[0].name if len(offline) == 1 else "offline-run-*"
        yield f"wandb sync {shlex.quote(str(folder))}/{pattern}"


def _root(cfg: Mapping[str, Any]) -> str:
    """Return ` root=PATH` unless the commands look there by themselves."""
    usual = os.environ.get("RUNS_DIR", "runs")
    return "" if str(cfg["root"]) == usual else f" root={shlex.quote(str(cfg['root']))}"


def _words_of_data() -> str:
    """Return the words of the command line that choose data and study, each after a space."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    groups = {word: word.lstrip("+").partition("=")[0].partition(".")[0] for word in words}
    kept = [word for word, group in groups.items() if group in ("experiment", "data", "study", "root")]
    return "".join(f" {shlex.quote(word)}" for word in kept)


def _next(commands: Iterable[str]) -> Iterator[str]:
    for place, text in enumerate(commands):
        yield f"{'next: ' if place == 0 else '      '}{text}"
