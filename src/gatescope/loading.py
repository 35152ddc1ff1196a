"""Loading of finished runs. What a prediction needs is in the run's folder: no data are read.

This module imports neither Lightning, wandb, matplotlib, pandas nor scikit-learn, so that a program that
predicts starts fast. Only the data of a run need them, which are loaded at the first use of `Trained.data`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from gatescope.analysis.record_files import find_run
from gatescope.building import build_network
from gatescope.data.encoding.tokenizers import restore
from gatescope.data.errors import DataError
from gatescope.opening import NotTrusted, opened_config
from gatescope.saved_task import restored_task
from gatescope.sequences import TaskSpec
from gatescope.tracking.checkpoint_files import read_checkpoint, weights_path
from gatescope.tracking.provenance import versions
from gatescope.tracking.runfile import read_run
from gatescope.trained import LoadError, Trained

if TYPE_CHECKING:
    from gatescope.data.datamodule import SequenceData


def load(
    run: str | Path,
    root: str | Path | None = None,
    device: str | torch.device = "cpu",
    trust: bool = False,
    named: Collection[str] = (),
) -> Trained:
    """Load the best weights of a run, with vocabulary and preprocessing.

    Args:
        run: Id of the run, or the directory of its record.
        root: Directory in which ids are searched; default: the environment variable RUNS_DIR, else `runs`.
        device: Device of the model, such as "cuda".
        trust: Whether the record may run code outside this package; only for records that you know.
        named: Dotted paths of classes outside this package that it may use nevertheless.

    Raises:
        NoRuns: There is no such run; the message contains the nearest id.
        NotTrusted: The record names something outside this package.
        LoadError: The run has no usable weights, they belong to another version, or there is no such device.
        DataError: The run is of a version that did not save its task, and its data are no longer available.
    """
    target = checked_device(device)
    directory = find_run(root or os.environ.get("RUNS_DIR", "runs"), str(run))
    record = read_run(directory)
    if not (directory / "config.yaml").exists():
        raise LoadError(f"{directory} has no config.yaml, which is needed to build the model")
    saved: Any = OmegaConf.to_container(OmegaConf.load(directory / "config.yaml"))
    if "baseline" in (saved.get("model") or {}):
        raise LoadError(f"{directory.name} is a baseline without a network: there are no weights to load")
    try:
        cfg = OmegaConf.create(opened_config(saved, directory.name, trust, named))
        trained = _build(directory, cfg, _read_weights(directory, str(record.get("status"))))
    except (DataError, LoadError, NotTrusted):
        raise
    except Exception as error:  # an older config or layer makes Hydra and torch raise many types
        raise LoadError(_version_message(directory, record, error)) from error
    trained.model.requires_grad_(False).eval().to(target)
    return trained


def checked_device(device: str | torch.device) -> torch.device:
    """Return a device that this machine has.

    Raises:
        LoadError: There is none of this name.
    """
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise LoadError(f"device={device} cannot be used ({reason}); cpu always can") from error
    return checked


def _build(directory: Path, cfg: DictConfig, checkpoint: dict[str, Any]) -> Trained:
    """Return the model with its weights."""
    prefix, identity = "model.", checkpoint.get("data")
    weights = {
        name.removeprefix(prefix): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    if "task" not in checkpoint:  # an older version
        data = load_run_data(directory, cfg, identity)
        trained = Trained.with_data(directory, cfg, build_network(cfg, data.task), data)
    else:
        saved = restored_task(checkpoint["task"])

        def load_data() -> SequenceData:
            return load_run_data(directory, cfg, identity)

        tokenize = _tokenizer(cfg, saved.task)
        model = build_network(cfg, saved.task)
        trained = Trained(directory, cfg, model, saved.task, saved.longest, tokenize, load_data)
    trained.model.load_state_dict(weights)
    return trained


def _tokenizer(cfg: DictConfig, task: TaskSpec) -> Callable[[str], list[str]]:
    """Return the tokenizer that was saved, else that of the data, which need not be loaded for it."""
    if task.tokenizer:
        return restore(task.tokenizer)

    @cache
    def data() -> SequenceData:
        found: SequenceData = instantiate(cfg.data)
        return found

    return lambda text: data().tokenize(text)


def _read_weights(directory: Path, status: str) -> dict[str, Any]:
    """Return the checkpoint with the weights of a run."""
    path = weights_path(directory)
    if path is None:
        remedy = "train it again with force=true" if status == "finished" else "run it to its end first"
        raise LoadError(f"{directory.name} ({status}) has no checkpoint: {remedy}")
    try:
        checkpoint = read_checkpoint(path)
        checkpoint["state_dict"]
    except Exception as error:  # a damaged file makes torch, zipfile or pickle raise many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LoadError(f"{path} is damaged or no checkpoint ({reason}): run it again, force=true") from error
    return checkpoint


def _version_message(directory: Path, record: dict[str, Any], error: Exception) -> str:
    """Return the message for a run whose config or weights do not fit this version."""
    made_by = (record.get("versions") or {}).get("gatescope", "unknown")
    current = versions().get("gatescope")
    commit = str((record.get("git") or {}).get("commit") or "unknown")[:10]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = lines[1] if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else lines[0]
    return (
        f"{directory.name} does not fit this version ({detail}): it was made by gatescope {made_by}, commit "
        f"{commit}, this is {current}; check out that commit, or run it again"
    )


def load_run_data(directory: Path, cfg: DictConfig, identity: dict[str, Any] | None) -> SequenceData:
    """Return the run's data if they are those of its training.

    Args:
        directory: Directory of the record.
        cfg: Config of the run.
        identity: Identity of the data that is in the checkpoint.

    Raises:
        DataError: They cannot be loaded.
        LoadError: They are not those of the training.
    """
    from gatescope.run import load_data  # imports Lightning

    try:
        data = load_data(cfg)
    except DataError as error:
        keys = (identity or {}).get("sources", {})
        sources = {key: Path(str(OmegaConf.select(cfg, key))) for key in keys}
        missing = [key for key, path in sources.items() if not path.expanduser().exists()]
        if not missing:
            raise
        config = directory / "config.yaml"
        raise DataError(f"{error}; if it was moved, set {missing[0]} in {config} to its new path") from error
    if identity is None:
        raise LoadError(
            f"{directory.name} was made by an older version, which did not save the identity of its data: "
            "run it again"
        )
    changes = data.changes(identity)
    if changes:
        raise LoadError(
            f"the data of {directory.name} are not those of its training ({'; '.join(changes)}): restore the "
            "original data, or repeat its command, which trains on the current data"
        )
    return data
