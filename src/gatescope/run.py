"""run(cfg) -> RunResult: the whole way of one run, callable without Hydra."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from gatescope.baselines.base import Baseline, evaluate
from gatescope.cells.kernels.layer import kernel_of
from gatescope.components import import_from_working_directory
from gatescope.config import ConfigError, check
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.distributed import device_count
from gatescope.instruments.callbacks import instrument_callbacks
from gatescope.models.build import build_model
from gatescope.models.encoder import sizes
from gatescope.tracking.content import inputs
from gatescope.tracking.identity import run_dir, run_id
from gatescope.tracking.lifecycle import Tracked, complete_wandb, describe, tracked
from gatescope.tracking.outcomes import finished, monitored
from gatescope.tracking.ranks import rank, under_torchrun
from gatescope.tracking.record import Record, result_text
from gatescope.tracking.resume import AtomicIO, read_checkpoint, weights_of
from gatescope.tracking.runfile import best, mend, read_rows
from gatescope.tracking.steps import count_updates
from gatescope.training.housekeeping import older_objects_left_alone
from gatescope.training.loop import (
    best_checkpoint,
    best_score,
    epoch_seconds,
    make_trainer,
    seconds_per_epoch,
    tested_at,
)
from gatescope.training.module import SequenceTask, refuse_other_data

log = logging.getLogger(__name__)


@dataclass
class RunResult:
    """What a caller gets back: where the record is, what was measured, and the objects themselves.

    `monitored` is the task's metric on validation at its best: what a sweep may select on.
    """

    directory: Path
    summary: dict[str, float]
    monitored: float
    module: SequenceTask | None
    data: SequenceData


def run(cfg: DictConfig) -> RunResult:
    """Trains, probes and tests one model, recorded from start to end; goes on where an earlier try stopped,
    and returns what is recorded where it is finished already, unless `force=true`.

    Raises:
        ConfigError: the config is not valid, or asks for devices that this machine does not have or that
            `gatescope.distributed.spread` must spread it over; nothing was written.
        DataError: the data are missing or wrong, or not those that a checkpoint of this run was trained on.
        NonFiniteLoss: training diverged; the record keeps what was measured before.
    """
    check(cfg)
    devices = device_count(cfg)
    if devices > 1 and not under_torchrun():
        raise ConfigError(
            [f"trainer.devices: given {devices}; gatescope.distributed.spread runs such a config"]
        )
    kept = None if under_torchrun() else recorded(cfg)
    if kept is not None:
        return kept
    with tracked(cfg) as tracking:
        torch.set_num_threads(cfg.trainer.threads or torch.get_num_threads())
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        data = load_data(cfg)
        if run_id(cfg) != tracking.record.directory.name:
            raise DataError("a file of the data was edited while it was read: give the same command again")
        tracking.record.update(data=data.identity)
        if "baseline" in cfg.model:
            return fit_baseline(cfg, tracking, data)
        module = build_module(cfg, data)
        if cfg.trainer.compile:
            torch._logging.set_logs(dynamo=logging.ERROR)  # else it tells of each branch on lengths
            module.model.compile()
        tracking.describe(data.task, sizes(module.model), kernel_of(module.model, cfg.trainer.accelerator))
        # All ranks hold the same weights and gradients, so that one of them reads what any would.
        probes = instrument_callbacks(cfg.instruments, data, tracking.measurements) if rank() == 0 else []
        callbacks = [*probes, tracking.checkpoints]
        trainer = make_trainer(
            cfg, data.task, tracking.record.directory, tracking.loggers, callbacks, [AtomicIO()], devices
        )
        count_updates(trainer)
        with older_objects_left_alone():
            trainer.fit(module, datamodule=data, ckpt_path=tracking.checkpoint)
            weights = best_checkpoint(trainer)
            if weights is None:
                log.warning("no validation ran: the last weights are tested")
            trainer.test(module, datamodule=data, ckpt_path=weights, verbose=False)
        tracking.keep_predictions(module.predictions, data, trainer.global_step)
        return finish(tracking, trainer, module, data)


def recorded(cfg: DictConfig) -> RunResult | None:
    """The result of a finished run, with its weights; None where something is left to train, or `force=true`.

    What its record lacks is made up for: run.json is rebuilt from config, data, rows and weights, and W&B is
    given what has not arrived there.
    """
    directory = run_dir(cfg)
    found = {} if cfg.force else mend(directory)
    if found.get("status") != "finished":
        return None
    data = load_data(cfg)
    module = None if "baseline" in cfg.model else build_module(cfg, data)
    if not finished(cfg):
        record = Record(directory)
        record.run, record.summary = found, found.setdefault("summary", {})
        if not found.get("task"):
            record.update(result_config=result_text(cfg))
            describe_rebuilt(record, data, module)
        if not finished(cfg):
            complete_wandb(cfg, record)
    if module is not None and not load_weights(module, directory, data):
        log.warning("%s has no weights any more: its scores are as recorded, force=true trains it", directory)
        module = None
    return RunResult(directory, found.get("summary", {}), monitored(directory), module, data)


def load_weights(module: SequenceTask, directory: Path, data: SequenceData) -> bool:
    """Load the weights of a finished run; return whether there were any.

    Raises:
        DataError: they are damaged, or were trained on other data.
    """
    path = weights_of(directory)
    if path is None:
        return False
    try:
        saved = read_checkpoint(path)
    except Exception as error:  # whatever a torn file makes torch, zipfile or pickle raise
        raise DataError(f"{path} is damaged: force=true trains the run anew") from error
    refuse_other_data(data, saved)
    module.load_state_dict(saved["state_dict"])
    return True


def describe_rebuilt(record: Record, data: SequenceData, module: SequenceTask | None) -> None:
    """Adds to a run.json that was rebuilt what the data and the model tell."""
    name = f"validation/{data.task.metric}"
    rows = read_rows(record.directory / "metrics.jsonl")
    record.summary[f"best/{name}"] = best(rows, name, data.task.direction)
    if module is None:
        describe(record, data.task, {})
    else:
        describe(record, data.task, sizes(module.model), kernel_of(module.model, "cpu"))


def load_data(cfg: DictConfig) -> SequenceData:
    """The datamodule, set up; the order of its batches follows the run's seed, its content the data's own."""
    import_from_working_directory()
    data: SequenceData = instantiate(cfg.data)
    data.order_seed = cfg.seed
    named = inputs(OmegaConf.to_container(cfg.data, resolve=True), "data")
    data.sources = {key: (str(path.absolute()), digest) for key, path, digest in named}
    data.setup()
    return data


def build_module(cfg: DictConfig, data: SequenceData) -> SequenceTask:
    """The LightningModule for this data, from the model, attention, decoder, optimizer, scheduler groups.

    Raises:
        ConfigError: the data have sequences as targets, and there is no decoder.
    """
    if data.task.kind == "transduction" and not cfg.get("decoder"):
        raise ConfigError(["decoder: given none, and these data need one; Allowed: input_feeding, recurrent"])
    decoding = instantiate(cfg.decoder) if cfg.get("decoder") else None
    model = build_model(
        data.task, instantiate(cfg.model, _convert_="all"), instantiate(cfg.attention), decoding
    )
    scheduler = instantiate(cfg.scheduler) if cfg.scheduler else None
    return SequenceTask(model, instantiate(cfg.optimizer), scheduler)


def fit_baseline(cfg: DictConfig, tracking: Tracked, data: SequenceData) -> RunResult:
    """A model without recurrence on the same splits, recorded as any other run."""
    assert data.splits is not None
    baseline: Baseline = instantiate(cfg.model.baseline)
    scores, predictions = evaluate(baseline, data.splits)
    tracking.describe(data.task, {"total": baseline.parameters, "between": 0, "stack": 0})
    for logger in tracking.loggers:
        logger.log_metrics(scores, 0)
    tracking.keep_predictions(predictions, data, 0)
    score = scores[f"validation/{data.task.metric}"]
    tracking.record.summary |= {
        **{name: value for name, value in scores.items() if name.startswith("test/")},
        f"best/validation/{data.task.metric}": score,
    }
    return RunResult(tracking.record.directory, dict(tracking.record.summary), score, None, data)


def finish(tracking: Tracked, trainer: pl.Trainer, module: SequenceTask, data: SequenceData) -> RunResult:
    """Write the summary: test metrics, the best validation value and its step, time of a whole epoch.

    `epochs` counts the whole ones.
    """
    score = best_score(trainer)
    tracking.record.summary |= {
        **{
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")
        },
        f"best/validation/{data.task.metric}": score,
        "seconds_per_epoch": seconds_per_epoch(trainer),
        "best/step": float(tested_at(trainer)[0]),
        "epochs": float(len(epoch_seconds(trainer))),
        "steps": float(trainer.global_step),
    }
    return RunResult(tracking.record.directory, dict(tracking.record.summary), score, module, data)
