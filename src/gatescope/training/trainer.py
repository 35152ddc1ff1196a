"""The Lightning Trainer of a run: best checkpoint, early stopping, progress bar, timing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.loggers import Logger

from gatescope.devices import accelerator_of
from gatescope.ranks import under_torchrun
from gatescope.sequences import TaskSpec
from gatescope.startup import workarounds_enabled
from gatescope.training.best_checkpoint import BestCheckpoint
from gatescope.training.display import display_callback
from gatescope.training.early_stopping import EarlyStoppingAfter, StoppingThreshold
from gatescope.training.lightning_internals import (
    NullProfiler,
    keep_freed_pages,
)
from gatescope.training.monitor import Monitor
from gatescope.training.smoothed_monitor import SmoothedMonitor
from gatescope.training.timing import EpochTimer

NOT_LIGHTNING = ("_target_", "threads", "compile", "float32_matmul_precision")
"""Keys of the trainer group that are not arguments of Lightning's Trainer."""

OURS_IF_NULL = ("default_root_dir", "num_sanity_val_steps", "enable_model_summary")
"""Arguments for which null means the default of a run and not that of Lightning."""

IGNORED_WARNINGS = (
    # Lightning 2.6 calls a function that torch 2.13 has renamed.
    ".*isinstance.treespec, LeafSpec.. is deprecated",
    # Data that are in memory are loaded fastest without worker processes.
    "The '.*_dataloader' does not have many workers",
    # A run that ends before its first validation has no best checkpoint; `run` logs its own warning.
    ".*could not find the monitored key in the returned metrics",
    # Short runs have fewer steps per epoch than `log_every_n_steps`.
    "The number of training batches .* is smaller than the logging interval",
    # trainer=cpu is a choice.
    "GPU available but not used",
    # A run may be started by hand on a machine with SLURM.
    "The `srun` command is available on your system but is not used",
    # Resuming and testing write next to an existing best checkpoint.
    "Checkpoint directory .* exists and is not empty",
    # `ReduceLROnPlateau` skips epochs without a validation.
    "ReduceLROnPlateau conditioned on metric",
    # This is about samplers that repeat examples to fill the last batch; BucketSampler does not.
    "Using `DistributedSampler` with the dataloaders",
)
"""Lightning's warnings that do not apply to our runs, each with the reason."""


def make_trainer(
    cfg: DictConfig,
    task: TaskSpec,
    directory: Path,
    loggers: Sequence[Logger],
    callbacks: Sequence[pl.Callback],
    plugins: Sequence[Any] = (),
    devices: int = 1,
    monitor: Monitor | None = None,
    max_epochs: int | None = None,
) -> pl.Trainer:
    """Return a Trainer that keeps the checkpoint with the best validation metric.

    Args:
        cfg: Config of the run; the groups trainer and early_stopping are used.
        task: Task with the metric and its direction.
        directory: Directory of the run.
        loggers: Loggers.
        callbacks: Callbacks besides checkpoint, timer and early stopping.
        plugins: Lightning plugins.
        devices: Number of processes.
        monitor: The metric of which the best checkpoint is kept; None for that of the task.
        max_epochs: Number of epochs; None for that of the config.
    """
    keep_freed_pages()
    options = _trainer_options(cfg, devices)
    options["max_epochs"] = options["max_epochs"] if max_epochs is None else max_epochs
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    chosen = monitor or Monitor(task.metric, task.direction)
    observed: Any = {"monitor": chosen.name, "mode": chosen.direction}
    window = cfg.get("monitor_window", 1)
    smoothed = SmoothedMonitor(chosen.name, window) if window > 1 else None
    best = BestCheckpoint(
        directory / "checkpoints",
        "best",
        save_weights_only=True,
        enable_version_counter=False,
        save_on_train_epoch_end=False,  # after each validation, of which an epoch may have several
        monitor=chosen.name if smoothed is None else smoothed.name,
        mode=chosen.direction,
    )
    given = {name: _components(cfg.trainer.get(name)) for name in ("logger", "callbacks", "plugins")}
    has_bar = any(isinstance(one, ProgressBar) for one in given["callbacks"])
    display = None if has_bar else display_callback(cfg.trainer.enable_progress_bar, chosen)
    options["enable_progress_bar"] = has_bar or isinstance(display, ProgressBar)
    optional = [one for one in (smoothed, display) if one is not None]
    all_callbacks: list[pl.Callback] = [best, EpochTimer(), *optional, *callbacks]
    if cfg.early_stopping.patience is not None:
        # Not strict: a run may end before its first validation. `patience` counts validations.
        stopping: dict[str, Any] = {"strict": False, "check_on_train_epoch_end": False}
        stopping |= {
            "patience": cfg.early_stopping.patience,
            "min_delta": cfg.early_stopping.get("min_delta", 0.0),
            "min_steps": cfg.early_stopping.get("min_steps", 0),
        }
        all_callbacks.append(EarlyStoppingAfter(**stopping, **observed))
    if (threshold := cfg.early_stopping.get("threshold")) is not None:
        all_callbacks.append(StoppingThreshold(threshold, **observed))
    if options.get("enable_checkpointing") is False:
        all_callbacks = [one for one in all_callbacks if not isinstance(one, Checkpoint)]
    defaults: dict[str, Any] = {
        "default_root_dir": directory,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # BucketSampler distributes each batch over the ranks itself
        "enable_model_summary": False,
    }
    return pl.Trainer(
        **defaults
        | options
        | {
            "logger": [*loggers, *given["logger"]],
            "callbacks": [*all_callbacks, *given["callbacks"]],
            "plugins": [*plugins, *given["plugins"]],
        }
    )


def _components(node: Any) -> list[Any]:
    """Return the objects of a component, or of a list of them, that are given besides those of the run."""
    if node is None or isinstance(node, bool):  # logger=true or false: those of the run alone
        return []
    objects = instantiate(node)
    return list(objects) if OmegaConf.is_list(node) else [objects]


def set_torch_options(cfg: DictConfig) -> None:
    """Set the options of torch that are no arguments of Lightning's Trainer: threads and TF32.

    Args:
        cfg: Config of the run.
    """
    torch.set_num_threads(cfg.trainer.threads or torch.get_num_threads())
    precision = cfg.trainer.get("float32_matmul_precision", "highest")
    torch.set_float32_matmul_precision(precision)
    # cuDNN's recurrences have a switch of their own, which is on by default.
    torch.backends.cudnn.allow_tf32 = precision != "highest"


def _trainer_options(cfg: DictConfig, devices: int) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer in the trainer group of a config."""
    group: Any = OmegaConf.to_object(cfg.trainer)
    options = {key: value for key, value in group.items() if key not in NOT_LIGHTNING}
    options = {key: value for key, value in options.items() if value is not None or key not in OURS_IF_NULL}
    if OmegaConf.is_dict(cfg.trainer.get("profiler")):
        options["profiler"] = instantiate(cfg.trainer.profiler)
    options |= {"devices": devices, "accelerator": accelerator_of(cfg)}
    if options.get("profiler") is None and workarounds_enabled():
        options["profiler"] = NullProfiler()
    if devices == 1 and not under_torchrun():
        options.pop("strategy", None)  # DDP with one process only adds overhead
    return options


def is_last_training_batch(trainer: pl.Trainer) -> bool:
    """Return whether training ends after the batch that was just processed."""
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return True
    max_epochs = trainer.max_epochs
    is_limited = max_epochs is not None and max_epochs != -1
    if is_limited and trainer.is_last_batch and trainer.current_epoch + 1 >= max_epochs:  # type: ignore[operator]
        return True
    epochs = trainer.current_epoch + int(trainer.is_last_batch)
    is_long_enough = trainer.global_step >= (trainer.min_steps or 0) and epochs >= (trainer.min_epochs or 0)
    return trainer.should_stop and is_long_enough
