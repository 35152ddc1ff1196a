"""Who a run is: a name that depends on all that defines its result, and on nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gatescope.tracking.content import by_content

RESULT_SECTIONS = ("data", "model", "attention", "optimizer", "scheduler", "early_stopping", "seed")
IF_ANY = ("decoder",)
"""Sections that count where they hold anything: most runs have nothing to decode."""
TRAINING_KEYS = (
    "max_epochs",
    "max_steps",
    "max_time",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
    "precision",
    "overfit_batches",
    "fast_dev_run",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "val_check_interval",
    "check_val_every_n_epoch",
)
NOT_RESULT = {"data": ("workers",), "cell": ("kernel",)}
"""Keys of a section, or of a model's cell, that change the speed of a run and not its result."""


def result_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved part of a config that defines the result of its run, with its files by what they hold."""
    names = [*RESULT_SECTIONS, *(name for name in IF_ANY if cfg.get(name))]
    chosen = {name: cfg.get(name) for name in names}
    resolved: dict[str, Any] = {
        name: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for name, node in chosen.items()
    }
    resolved["data"] = _without(resolved["data"], NOT_RESULT["data"])
    if isinstance(resolved["model"], dict) and "cell" in resolved["model"]:
        cell = _without(resolved["model"]["cell"], NOT_RESULT["cell"])
        resolved["model"] = {**resolved["model"], "cell": cell}
    trainer = cfg.get("trainer") or {}
    resolved["trainer"] = {key: trainer[key] for key in TRAINING_KEYS if trainer.get(key) is not None}
    return by_content(resolved)


def _without(section: Any, keys: tuple[str, ...]) -> Any:
    if not isinstance(section, dict):
        return section
    return {name: value for name, value in section.items() if name not in keys}


def tags(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a table groups by: cell, attention, data, seed, variant (cell-attention, or a baseline)."""
    cell, attention = str(cfg["model"]["name"]), _attention_name(cfg["attention"])
    data = str(cfg["data"].get("dataset") or str(cfg["data"]["_target_"]).split(".")[-2])
    return {
        "cell": cell,
        "attention": attention,
        "data": data,
        "seed": int(cfg["seed"]),
        "variant": cell if "baseline" in cfg["model"] else f"{cell}-{attention}",
    }


def _attention_name(node: Mapping[str, Any]) -> str:
    kind = str(node["_target_"]).rsplit(".", 1)[-1]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    if name != "pooling":
        return name
    return "none" if node.get("reduce", "last") == "last" else str(node["reduce"])


def run_id(cfg: Mapping[str, Any]) -> str:
    """`<model>-<attention>-<data>-s<seed>-<8 hex digits of sha256>` of what defines the result."""
    named = tags(cfg)
    text = json.dumps(result_config(cfg), sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{named['cell']}-{named['attention']}-{named['data']}-s{named['seed']}-{digest}"


def run_dir(cfg: Mapping[str, Any]) -> Path:
    """Where the run keeps its record: `<root>/<study>/<run_id>`."""
    return Path(cfg["root"]) / cfg["study"]["name"] / run_id(cfg)


def register() -> None:
    """Makes `${run_id:}` available to the config."""
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True)


register()
