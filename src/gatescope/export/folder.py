"""A run as a folder that `gatescope.load` opens on another machine, without the data of the run.

README.md               model card, see `model_card`
config.yaml             architecture; paths of files without their folders
run.json                results, seeds, versions; without the command, the machine and paths
model.json              tokenizer, vocabulary, labels and scales, see `description`
checkpoints/best.ckpt   weights and task
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gatescope.export.description import describe
from gatescope.saved_task import task_content
from gatescope.tracking import predictions
from gatescope.tracking.checkpoint_files import BEST
from gatescope.tracking.content import PATH_KEYS, PATH_SUFFIXES
from gatescope.tracking.runfile import CONFIG, NAME, read_run
from gatescope.trained import LoadError, Trained

MACHINE = ("command", "host", "pid", "wandb")
"""Fields of run.json that are about the machine of the training."""
UNNEEDED = ("root", "force", "checkpoint", "instruments", "tracking", "study")
"""Sections of a config that say nothing of the model."""


def export_folder(trained: Trained, out: str | Path) -> Path:
    """Write a run as a folder that can be copied to another machine.

    Args:
        trained: A finished run.
        out: The folder, which is new or empty.

    Returns:
        The folder.

    Raises:
        LoadError: The folder contains something, or the run is not finished.
    """
    from gatescope.export.model_card import model_card  # imports pandas

    folder, source = Path(out).expanduser(), trained.directory
    record = read_run(source)
    if record.get("status") != "finished":
        raise LoadError(f"{source.name} ({record.get('status')}) has no results: run it to its end first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LoadError(f"{folder} is not empty: give a new folder by out=")
    path = predictions.find(source)
    answers = None if path is None else predictions.read(path)
    record, config = _portable_record(record), _portable_config(trained.config)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "checkpoints").mkdir(parents=True)
    try:
        torch.save(_checkpoint(trained, record), partial / "checkpoints" / BEST)
        (partial / CONFIG).write_text(OmegaConf.to_yaml(config), encoding="utf-8")
        _write_json(partial / NAME, record)
        _write_json(partial / "model.json", describe(trained))
        card = model_card(trained, record, answers, folder.name)
        (partial / "README.md").write_text(card, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _checkpoint(trained: Trained, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `gatescope.load` reads: the weights, the task and the identity of the data."""
    weights = {f"model.{name}": value.cpu() for name, value in trained.model.state_dict().items()}
    content = {"state_dict": weights, "task": task_content(trained.task, trained.longest)}
    return content | ({"data": record["data"]} if "data" in record else {})


def _portable_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of run.json without what belongs to the machine of the training."""
    kept = {name: value for name, value in record.items() if name not in MACHINE}
    if sources := kept.get("data", {}).get("sources"):
        named = {key: source | {"path": Path(source["path"]).name} for key, source in sources.items()}
        kept["data"] = kept["data"] | {"sources": named}
    return kept


def _portable_config(config: DictConfig) -> dict[str, Any]:
    """Return a config without what belongs to the machine of the training."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    kept = {name: value for name, value in plain.items() if name not in UNNEEDED}
    kept["data"] = {name: _file_name(name, value) for name, value in kept["data"].items()}
    return kept


def _file_name(key: str, value: Any) -> Any:
    """Return the name of a file of the data without its folder; any other value as it is."""
    is_path = key in PATH_KEYS or key.endswith(PATH_SUFFIXES)
    return Path(value).name if is_path and isinstance(value, str) else value


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2, default=str)
    path.write_text(text + "\n", encoding="utf-8")
