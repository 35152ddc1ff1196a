"""One run from config to result, without Hydra: `run(cfg)`."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from gatescope.announce import announced
from gatescope.baselines.base import Baseline, evaluate
from gatescope.building import build_network
from gatescope.cells.kernels.layer import kernel_of
from gatescope.components import import_from_working_directory
from gatescope.config import ConfigError, check, check_files
from gatescope.data.cache import cache_folder
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.devices import accelerator_of, check_card, device_count
from gatescope.fine_tuning import check_architecture, freeze, keep_vocabulary, source_run, start_from
from gatescope.instruments.callbacks import instrument_callbacks
from gatescope.machine import check_machine, gib, memory, memory_problem, states_of_a_batch
from gatescope.models.encoder import SequenceModel, sizes
from gatescope.ranks import rank, under_torchrun
from gatescope.tracking.checkpoint_files import read_checkpoint, weights_path
from gatescope.tracking.checkpoint_io import AtomicCheckpointIO
from gatescope.tracking.content import find_inputs
from gatescope.tracking.identity import data_name, run_dir, run_id
from gatescope.tracking.lifecycle import TrackedRun, track_run, write_metadata
from gatescope.tracking.outcomes import is_finished, monitored_value
from gatescope.tracking.record import Record, result_json
from gatescope.tracking.runfile import best_value, read_rows, repair_run
from gatescope.tracking.steps import log_update_steps
from gatescope.tracking.wandb_upload import complete_upload
from gatescope.training import adversarial
from gatescope.training.adversarial import AdversarialTask
from gatescope.training.batch_limits import check_batch_limits
from gatescope.training.best_checkpoint import (
    best_checkpoint_path,
    metrics_of_best,
    tested_step_and_epoch,
)
from gatescope.training.class_weights import loss_options
from gatescope.training.ctc import prepare
from gatescope.training.data_identity import check_same_data
from gatescope.training.length import max_epochs
from gatescope.training.memory import is_out_of_memory
from gatescope.training.module import SequenceTask
from gatescope.training.monitor import Monitor, monitor_of
from gatescope.training.objective import objective_for
from gatescope.training.out_of_memory import MemoryReport
from gatescope.training.own import own_loss, own_metric
from gatescope.training.timing import epoch_seconds, seconds_per_epoch
from gatescope.training.trainer import make_trainer, set_torch_options

log = logging.getLogger(__name__)


@dataclass
class RunResult:
    """The result of a run.

    Attributes:
        directory: Directory of its record.
        summary: Final values, among them the metrics of the test split.
        monitored: Best validation value of the monitored metric, which a sweep may select by.
        module: The trained module; None for a baseline, or if its weights were deleted.
        data: The data.
    """

    directory: Path
    summary: dict[str, float]
    monitored: float
    module: SequenceTask | None
    data: SequenceData


def run(cfg: DictConfig) -> RunResult:
    """Train and test one model, and record everything.

    A run that was stopped continues from its last checkpoint. For a finished run, the recorded result is
    returned, unless `force=true`.

    Args:
        cfg: The composed config.

    Raises:
        ConfigError: The config is invalid, requests devices that this machine does not have or that cannot
            run it, or several devices, for which `gatescope.distributed.spread` is needed; nothing was
            written.
        DataError: The data are missing or invalid, or differ from those that a checkpoint was trained on.
        OutOfMemory: A card or the machine has too little memory; the message contains sizes that fit, and the
            record everything that was measured before.
        NonFiniteLoss: Training diverged; the record contains everything that was measured before.
    """
    import_from_working_directory()
    check(cfg)
    check_machine(cfg)
    devices = device_count(cfg)
    if devices > 1 and not under_torchrun():
        raise ConfigError(
            [f"trainer.devices: given {devices}; use gatescope.distributed.spread for several devices"]
        )
    result = None if under_torchrun() else recorded_result(cfg)
    if result is not None:
        return result
    check_files(cfg)
    check_card(cfg)
    check_architecture(cfg)
    imitated = imitated_model(cfg, devices)
    with track_run(cfg) as tracking:
        set_torch_options(cfg)
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        data = load_data(cfg)
        if run_id(cfg) != tracking.record.directory.name:
            raise DataError("a file of the data was changed while it was read: repeat the command")
        tracking.record.update(data=data.identity)
        if "baseline" in cfg.model:
            return fit_baseline(cfg, tracking, data)
        return train_and_test(cfg, tracking, data, devices, imitated)


def imitated_model(cfg: DictConfig, devices: int) -> SequenceModel | None:
    """Return the model that an adversarial attention imitates, trained first if needed; None for others.

    Args:
        cfg: The composed config.
        devices: Number of processes.

    Raises:
        ConfigError: The config cannot be trained so, or the model has no weights.
    """
    if (imitated := adversarial.imitated_config(cfg)) is None:
        return None
    if (why := adversarial.problem(cfg, load_data(cfg).task)) is not None:
        raise ConfigError([why])
    result = recorded_result(imitated)
    if result is None and devices > 1:
        raise ConfigError(["attention: adversarial on several devices needs the run with attention=additive"])
    result = result or run(imitated)
    if result.module is None:
        raise ConfigError([f"attention: adversarial needs the weights of {result.directory}"])
    return result.module.model


def train_and_test(
    cfg: DictConfig,
    tracking: TrackedRun,
    data: SequenceData,
    devices: int,
    imitated: SequenceModel | None = None,
) -> RunResult:
    """Train a model, test its best weights, and record both.

    Args:
        cfg: The composed config.
        tracking: The open run.
        data: The data.
        devices: Number of processes.
        imitated: The model that an adversarial attention imitates.
    """
    check_batch_limits(cfg, data)
    memory = MemoryReport(cfg, data, tracking.checkpoints.path)
    with memory.explained():
        module = build_module(cfg, data)
    if isinstance(module, AdversarialTask) and imitated is not None:
        module.imitate(imitated)
    assert data.splits is not None
    states = states_of_a_batch(data.splits.train.lengths, data.batch_size, module.model.stack.values_per_step)
    if problem := memory_problem(cfg, sizes(module.model)["total"], states):
        raise ConfigError([f"model: {problem}; or, for a large vocabulary, a smaller data.max_tokens"])
    if (source := source_run(cfg)) is not None:
        start_from(module.model, source, cfg.get("freeze") or [])
    freeze(module.model, cfg.get("freeze") or [])
    if cfg.trainer.compile:
        # Documented in torch's "torch._logging"; otherwise dynamo prints each branch on lengths.
        torch._logging.set_logs(dynamo=logging.ERROR)
        # By default compiled code is kept in, and loaded from, the shared folder of temporary files.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
        module.model.compile()
    kernel = kernel_of(module.model, training_device(cfg))
    tracking.write_metadata(data.task, sizes(module.model), kernel, module.monitor)
    # All ranks have the same weights and gradients, so that one of them suffices for measurements.
    probes = instrument_callbacks(cfg.instruments, data, tracking.log_measurements) if rank() == 0 else []
    callbacks = [memory, *probes, tracking.checkpoints]
    directory, plugins = tracking.record.directory, [AtomicCheckpointIO()]
    trainer = make_trainer(
        cfg, data.task, directory, tracking.loggers, callbacks, plugins, devices, module.monitor,
        max_epochs(cfg, data),
    )  # fmt: skip
    log_update_steps(trainer)
    with memory.explained():
        trainer.fit(module, datamodule=data, ckpt_path=tracking.checkpoint)
        best = best_checkpoint_path(trainer)
        if best is None:
            reason = "no weights were kept" if trainer.checkpoint_callback is None else "no validation ran"
            log.warning("%s: the last weights are tested", reason)
        trainer.test(module, datamodule=data, ckpt_path=best, verbose=False)
    tested_step, _ = tested_step_and_epoch(trainer)
    tracking.write_predictions(module.predictions, data, tested_step)
    return summarise(tracking, trainer, module, data)


def training_device(cfg: DictConfig) -> torch.device:
    """Return the kind of device that a run trains on, as far as kernels differ."""
    on_gpu = accelerator_of(cfg) == "cuda"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def recorded_result(cfg: DictConfig) -> RunResult | None:
    """Return the result of a finished run with its weights; None if it is not finished, or `force=true`.

    What its record lacks is added: run.json is rebuilt from config, data, rows and weights, and W&B receives
    the rest of an incomplete upload.

    Args:
        cfg: The composed config.
    """
    directory = run_dir(cfg)
    content = {} if cfg.force else repair_run(directory)
    if content.get("status") != "finished":
        return None
    data = load_data(cfg)
    module = None if "baseline" in cfg.model else build_module(cfg, data)
    if not is_finished(cfg):
        record = Record(directory)
        record.run, record.summary = content, content.setdefault("summary", {})
        if not content.get("task"):
            record.update(result_config=result_json(cfg))
            complete_rebuilt_record(record, data, module)
        if not is_finished(cfg):
            complete_upload(cfg, record)
    if module is not None and not load_weights(module, directory, data):
        log.warning("%s has no weights: the recorded scores are returned; force=true trains it", directory)
        module = None
    return RunResult(directory, content.get("summary", {}), monitored_value(directory), module, data)


def load_weights(module: SequenceTask, directory: Path, data: SequenceData) -> bool:
    """Load the weights of a finished run; return whether there were any.

    Args:
        module: Module that receives the weights.
        directory: Directory of the run.
        data: The data, which must be those that the weights were trained on.

    Raises:
        DataError: The file is damaged, or the weights were trained on other data.
    """
    path = weights_path(directory)
    if path is None:
        return False
    try:
        checkpoint = read_checkpoint(path)
    except Exception as error:  # a damaged file makes torch, zipfile or pickle raise many types
        raise DataError(f"{path} is damaged: force=true trains the run again") from error
    check_same_data(data, checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    return True


def complete_rebuilt_record(record: Record, data: SequenceData, module: SequenceTask | None) -> None:
    """Add what depends on data and model to a run.json that was rebuilt.

    Args:
        record: Record of the run.
        data: The data.
        module: The module; None for a baseline.
    """
    monitor = Monitor(data.task.metric, data.task.direction) if module is None else module.monitor
    rows = read_rows(record.directory / "metrics.jsonl")
    record.summary[f"best/{monitor.name}"] = best_value(rows, monitor.name, monitor.direction)
    if module is None:
        write_metadata(record, data.task, {})
    else:
        kernel = kernel_of(module.model, torch.device("cpu"))
        write_metadata(record, data.task, sizes(module.model), kernel, module.monitor)


def load_data(cfg: DictConfig) -> SequenceData:
    """Return the datamodule after `setup`; the order of its batches depends on the seed of the run."""
    try:
        data: SequenceData = instantiate(cfg.data)
    except InstantiationException as error:
        if isinstance(error.__cause__, DataError):  # of arguments that do not fit each other
            raise error.__cause__ from error
        raise
    data.order_seed = cfg.seed
    if (source := source_run(cfg)) is not None:
        keep_vocabulary(data, source)
    files = list(find_inputs(OmegaConf.to_container(cfg.data, resolve=True), "data"))
    data.sources = {key: (str(path.absolute()), digest) for key, path, digest in files}
    read = ", ".join(str(path) for _, path, _ in files) or f"the data {data_name(cfg.data)}"
    try:
        with announced(f"reading {read}") if rank() == 0 else nullcontext():
            data.setup()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DataError(
            f"data: the memory of this machine, {gib(memory())}, is too small for these data ({error}); use "
            "fewer or shorter examples"
        ) from error
    return data


def build_module(cfg: DictConfig, data: SequenceData) -> SequenceTask:
    """Return the LightningModule from the model, attention, decoder, optimizer and scheduler groups.

    Args:
        cfg: The composed config.
        data: Data with the task that the model is built for.

    Raises:
        ConfigError: The targets are sequences, and there is no decoder; no metric has the name that is to be
            monitored; or `loss` or `metric` do not fit the data.
    """
    model = build_network(cfg, data.task)
    prepare(model, data)
    scheduler = instantiate(cfg.scheduler) if cfg.scheduler else None
    assert data.splits is not None
    options = loss_options(cfg.get("loss") or {}, data.task, data.splits.train.targets)
    objective = objective_for(data.task, model.objective, **options)
    loss, metric = own_loss(cfg.get("loss"), data.task), own_metric(cfg.get("metric"), data.task)
    monitor = monitor_of(cfg, objective)
    kind = SequenceTask if adversarial.imitated_config(cfg) is None else AdversarialTask
    return kind(model, instantiate(cfg.optimizer), scheduler, objective, monitor, loss, metric)


def fit_baseline(cfg: DictConfig, tracking: TrackedRun, data: SequenceData) -> RunResult:
    """Fit and test a model without recurrence on the same splits, and record it like any other run.

    Args:
        cfg: The composed config.
        tracking: The open run.
        data: The data.
    """
    assert data.splits is not None
    baseline: Baseline = instantiate(cfg.model.baseline)
    scores, predictions = evaluate(baseline, data.splits)
    tracking.write_metadata(data.task, {"total": baseline.parameters, "between": 0, "stack": 0})
    for logger in tracking.loggers:
        logger.log_metrics(scores, 0)
    tracking.write_predictions(predictions, data, 0)
    score = scores[f"validation/{data.task.metric}"]
    tracking.record.summary |= {
        **{name: value for name, value in scores.items() if name.startswith("test/")},
        f"best/validation/{data.task.metric}": score,
    }
    return RunResult(tracking.record.directory, dict(tracking.record.summary), score, None, data)


def summarise(
    tracking: TrackedRun, trainer: pl.Trainer, module: SequenceTask, data: SequenceData
) -> RunResult:
    """Write the summary of a run and return its result.

    The summary contains the test metrics, the validation metric of the tested weights and their step, the
    number of complete epochs and their median time.

    Args:
        tracking: The open run.
        trainer: The trainer after the test.
        module: The module with the tested weights.
        data: The data.
    """
    best = metrics_of_best(trainer)
    score = best.get(module.monitor.name, math.nan)
    metrics = trainer.callback_metrics
    tracking.record.summary |= {
        **{name: float(value) for name, value in metrics.items() if name.startswith("test/")},
        f"best/validation/{data.task.metric}": best.get(f"validation/{data.task.metric}", score),
        f"best/{module.monitor.name}": score,
        "seconds_per_epoch": seconds_per_epoch(trainer),
        "best/step": float(tested_step_and_epoch(trainer)[0]),
        "epochs": float(len(epoch_seconds(trainer))),
        "steps": float(trainer.global_step),
    }
    return RunResult(tracking.record.directory, dict(tracking.record.summary), score, module, data)


class CallableModule(ModuleType):
    """This module, which can be called: once it is imported, it hides the function `gatescope.run`.

    That a module may have a class of its own is documented in "Customizing module attribute access" of the
    language reference.
    """

    def __call__(self, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> RunResult:
        """Train a model; see `gatescope.run`."""
        from gatescope.interactive import run as run_words

        return run_words(overrides, config_dir)


sys.modules[__name__].__class__ = CallableModule
