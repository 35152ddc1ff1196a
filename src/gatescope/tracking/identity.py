"""The identity of a run: a name that depends on everything that defines its result, and on nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gatescope.moved import original_targets
from gatescope.tracking.content import replace_paths

EXCLUDED_SECTIONS = frozenset(
    {"root", "study", "force", "kernel", "checkpoint", "instruments", "tracking", "launcher", "hydra"}
    | {"recipe", "tune"}
)
"""Sections that cannot change a result: paths, names, measurements, checkpoint intervals. A value that
another section takes over by interpolation counts there: `kernel` in `model.cell.kernel`, `study.parameters`
in `model.parameters`, most of `recipe`."""

EXCLUDED_KEYS: dict[str, frozenset[str]] = {
    "data": frozenset({"name", "workers"}),
    "trainer": frozenset(
        {
            # The machine. A study may be started on a CPU and continued on a GPU: the global batch is the
            # same, and results agree up to rounding.
            "accelerator", "devices", "num_nodes", "strategy", "threads", "deterministic", "benchmark",
            # Display, logging and checks.
            "enable_progress_bar", "enable_model_summary", "log_every_n_steps", "num_sanity_val_steps",
            "profiler", "detect_anomaly", "logger", "default_root_dir", "use_distributed_sampler",
            "barebones",
        }
    ),
}  # fmt: skip
"""Keys of the other sections that cannot change a result. Everything else counts, including choices that only
change rounding: `trainer.precision`, `trainer.compile` and the kernel of a cell."""

NEUTRAL: dict[str, Any] = {
    "decoder": {},  # most models have none
    "front": {},
    "loss": {"class_weights": None, "label_smoothing": 0.0, "_target_": None},
    "metric": {"_target_": None},
    "monitor": None,
    "from": None,
    "freeze": [],
    "monitor_direction": None,
    "monitor_window": 1,
    "early_stopping": {"min_delta": 0.0, "min_steps": 0, "threshold": None},
    "model": {"embedding_std": 1.0},
    "data": {"target_scale": "none", "delimiter": "auto", "quoting": True}
    | {"decimal": "auto", "thousands": "auto", "subtract_mean": None}
    | {"folds": None, "fold": None, "group": None, "label_separator": ",", "threshold": 0.5}
    | {"lower": False, "shared": False},
    "scheduler": {"warmup": 0},
    "trainer": {"float32_matmul_precision": "highest"},
}
"""Values that do what a config without the key does: a key that is new changes no id until it is used."""

MAX_NAME_LENGTH = 40
"""Largest number of characters of a dataset's name; W&B allows tags of 64."""

BASELINE_SECTIONS = frozenset({"data", "model", "seed"})
"""Sections that define the result of a model without recurrence, which has no optimizer and no trainer."""


def result_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved part of a config that defines the result, with digests in place of file paths."""
    sections = {str(name) for name in cfg} - EXCLUDED_SECTIONS
    if "baseline" in (cfg.get("model") or {}):
        sections &= BASELINE_SECTIONS
    resolved = {name: _resolve(cfg[name]) for name in sorted(sections)}
    resolved = _with_length(resolved, _resolve(cfg.get("recipe")))
    if isinstance(data := resolved.get("data"), dict) and data.get("kind") in (
        "classification",
        "multilabel",
    ):
        data.pop("target_scale", None)  # it acts on a regression alone
    resolved = _without_neutral(resolved, NEUTRAL)
    if resolved.get("from"):
        resolved["from"] = _id_of(str(resolved["from"]))
    for name, keys in EXCLUDED_KEYS.items():
        if isinstance(resolved.get(name), dict):
            resolved[name] = {key: value for key, value in resolved[name].items() if key not in keys}
    result: dict[str, Any] = replace_paths(original_targets(resolved))
    return result


def _with_length(resolved: dict[str, Any], recipe: Any) -> dict[str, Any]:
    """Return sections with the length of the recipe where `trainer` uses it, without limits of no effect."""
    trainer, stopping = resolved.get("trainer"), resolved.get("early_stopping")
    changed: dict[str, Any] = {}
    if isinstance(trainer, Mapping) and trainer.get("max_epochs") == "auto" and isinstance(recipe, Mapping):
        given = trainer.get("max_steps", -1) != -1
        changed["trainer"] = {**trainer, "max_epochs": -1 if given else _length(recipe["length"])}
    if isinstance(stopping, Mapping) and stopping.get("patience") is None:
        changed["early_stopping"] = {key: value for key, value in stopping.items() if key != "min_steps"}
    return resolved | changed


def _length(length: Mapping[str, Any]) -> Any:
    """Return the length of a recipe: the number of epochs alone where updates do not limit it."""
    limited = length["min_steps"] or length["max_steps"]
    return dict(length) if limited else length["epochs"]


def _id_of(run: str) -> str:
    """Return the id of a run that is given by its id, or by the folder of its record or of its export."""
    try:
        return str(json.loads((Path(run).expanduser() / "run.json").read_bytes())["run_id"])
    except (OSError, ValueError, KeyError):
        return Path(run).name


def _without_neutral(node: Mapping[str, Any], neutral: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section without the keys that have their neutral value."""
    kept = {}
    for name, value in node.items():
        if name in neutral and (value == neutral[name] or (value is None and neutral[name] == {})):
            continue
        if value and isinstance(value, Mapping) and neutral.get(name):
            value = _without_neutral(value, neutral[name])
            if not value:
                continue
        kept[name] = value
    return kept


def _resolve(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def digest(result: Mapping[str, Any]) -> str:
    """Return 8 hexadecimal digits of the sha256 of a config."""
    text = json.dumps(result, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def tags(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names by which tables group runs: cell, attention, data, seed and variant.

    The variant is cell-attention, or the name of a baseline.
    """
    cell, attention = str(cfg["model"]["name"]), _attention_name(cfg["attention"])
    return {
        "cell": cell,
        "attention": attention,
        "data": data_name(cfg["data"]),
        "seed": int(cfg["seed"]),
        "variant": cell if "baseline" in cfg["model"] else f"{cell}-{attention}",
    }


def data_name(node: Mapping[str, Any]) -> str:
    """Return the name of a dataset in tables, folders and W&B.

    This is its `name`; else its `dataset`, if one class has several; else the stem of its `path`; else the
    name of its class, spelled like the file in conf/data.

    Args:
        node: The data section of a config.
    """
    for key in ("name", "dataset"):
        if node.get(key):
            return _safe_name(str(node[key]))
    if node.get("path"):
        path = Path(str(node["path"]))
        return _safe_name(Path(path.stem if path.suffix == ".gz" else path.name).stem)
    module, _, class_name = str(node["_target_"]).rpartition(".")
    module = module.rpartition(".")[2]
    # A module with one dataset has the dataset's name: g2p, not g2_p.
    is_same = module.replace("_", "").lower() == class_name.lower()
    return module if is_same else _snake_case(class_name)


def _safe_name(text: str) -> str:
    """Return a text that can be part of a folder's name and of a W&B id."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:MAX_NAME_LENGTH] or "data"


def _attention_name(node: Mapping[str, Any]) -> str:
    name = _snake_case(str(node["_target_"]).rpartition(".")[2])
    if name != "pooling":
        return name
    return "none" if node.get("reduce", "last") == "last" else str(node["reduce"])


def decoder_name(node: Mapping[str, Any] | None) -> str:
    """Return the name of a decoder in tables, spelled like the file in conf/decoder.

    Args:
        node: The decoder section of a config, or None.
    """
    if not node:
        return "none"
    name = _snake_case(str(node.get("_target_")).rpartition(".")[2])
    if name != "decoding":
        return name
    return "input_feeding" if node.get("input_feeding") else "recurrent"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def run_id(cfg: Mapping[str, Any]) -> str:
    """Return `<variant>-<data>-s<seed>-<8 hex digits of sha256>` of everything that defines the result."""
    names = tags(cfg)
    return f"{names['variant']}-{names['data']}-s{names['seed']}-{digest(result_config(cfg))}"


def run_dir(cfg: Mapping[str, Any]) -> Path:
    """Return the directory of a run: `<root>/<study>/<run_id>`."""
    return Path(cfg["root"]) / cfg["study"]["name"] / run_id(cfg)


def data_seed(cfg: Any) -> int:
    """Return the seed of the data: 0, or that of the run in a study with `study.vary_data`."""
    return int(cfg.seed) if OmegaConf.select(cfg, "study.vary_data", default=False) else 0


def register() -> None:
    """Register the resolvers `${run_id:}` and `${data_seed:}` for configs."""
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True)
    OmegaConf.register_new_resolver("data_seed", lambda *, _root_: data_seed(_root_), replace=True)


register()
