"""Who a run is: a name that depends on all that defines its result, and on nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gatescope.moved import original_targets
from gatescope.tracking.content import by_content

NOT_RESULT = frozenset(
    {"root", "study", "force", "kernel", "checkpoint", "instruments", "tracking", "launcher", "hydra"}
)
"""Sections that cannot change a result: places, names, what is measured and how often it is saved. What a
section gives on by interpolation counts where it arrives: `kernel` in `model.cell.kernel`, `study.parameters`
in `model.parameters`."""

NOT_RESULT_KEYS: dict[str, frozenset[str]] = {
    "data": frozenset({"name", "workers"}),
    "trainer": frozenset(
        {
            # The machine. A study may be begun on a CPU and ended on a GPU: a global batch stays what it is,
            # and results agree but for rounding.
            "accelerator", "devices", "num_nodes", "strategy", "threads", "deterministic", "benchmark",
            # What is shown, logged or checked.
            "enable_progress_bar", "enable_model_summary", "enable_checkpointing", "log_every_n_steps",
            "profiler", "detect_anomaly", "logger", "callbacks", "default_root_dir",
        }
    ),
}  # fmt: skip
"""Of the other sections, the keys that cannot change a result. All the rest counts, also what rounds
differently by choice: `trainer.precision`, `trainer.compile` and the kernel of a cell, whose native form
agrees with torch's to rounding and not to the last bit."""

LONGEST_NAME = 40
"""Characters of a dataset's name: W&B takes tags of 64."""

BASELINE_SECTIONS = frozenset({"data", "model", "seed"})
"""All that a model without recurrence depends on: scikit-learn fits it, without optimizer or trainer."""


def result_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved part of a config that defines the result of its run, with its files by what they hold."""
    sections = {str(name) for name in cfg} - NOT_RESULT
    if "baseline" in (cfg.get("model") or {}):
        sections &= BASELINE_SECTIONS
    resolved = {name: _resolved(cfg[name]) for name in sorted(sections)}
    if not resolved.get("decoder"):  # most runs have nothing to decode
        resolved.pop("decoder", None)
    for name, keys in NOT_RESULT_KEYS.items():
        if isinstance(resolved.get(name), dict):
            resolved[name] = {key: value for key, value in resolved[name].items() if key not in keys}
    return by_content(original_targets(resolved))


def _resolved(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def digest(result: Mapping[str, Any]) -> str:
    """8 hex digits of the sha256 of what defines a result."""
    text = json.dumps(result, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def tags(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a table groups by: cell, attention, data, seed, variant (cell-attention, or a baseline)."""
    cell, attention = str(cfg["model"]["name"]), _attention_name(cfg["attention"])
    return {
        "cell": cell,
        "attention": attention,
        "data": data_name(cfg["data"]),
        "seed": int(cfg["seed"]),
        "variant": cell if "baseline" in cfg["model"] else f"{cell}-{attention}",
    }


def data_name(node: Mapping[str, Any]) -> str:
    """What tables, folders and W&B call a dataset.

    Its `name`; or its `dataset`, where one class has several; or the stem of its `path`; or its class, as the
    file of conf/data is called.
    """
    for key in ("name", "dataset"):
        if node.get(key):
            return _file_name(str(node[key]))
    if node.get("path"):
        path = Path(str(node["path"]))
        return _file_name(Path(path.stem if path.suffix == ".gz" else path.name).stem)
    module, _, kind = str(node["_target_"]).rpartition(".")
    module = module.rpartition(".")[2]
    # A module may hold several datasets; where it holds one, it is named as the module is: g2p, not g2_p.
    return module if module.replace("_", "").lower() == kind.lower() else _snake_case(kind)


def _file_name(text: str) -> str:
    """Text of which a folder and a W&B id may be made."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:LONGEST_NAME] or "data"


def _attention_name(node: Mapping[str, Any]) -> str:
    name = _snake_case(str(node["_target_"]).rpartition(".")[2])
    if name != "pooling":
        return name
    return "none" if node.get("reduce", "last") == "last" else str(node["reduce"])


def decoder_name(node: Mapping[str, Any] | None) -> str:
    """What tables call a decoder, as the file of conf/decoder is called."""
    if not node:
        return "none"
    name = _snake_case(str(node.get("_target_")).rpartition(".")[2])
    if name != "decoding":
        return name
    return "input_feeding" if node.get("input_feeding") else "recurrent"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def run_id(cfg: Mapping[str, Any]) -> str:
    """`<variant>-<data>-s<seed>-<8 hex digits of sha256>` of what defines the result."""
    named = tags(cfg)
    return f"{named['variant']}-{named['data']}-s{named['seed']}-{digest(result_config(cfg))}"


def run_dir(cfg: Mapping[str, Any]) -> Path:
    """Where the run keeps its record: `<root>/<study>/<run_id>`."""
    return Path(cfg["root"]) / cfg["study"]["name"] / run_id(cfg)


def register() -> None:
    """Makes `${run_id:}` available to the config."""
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True)


register()
