"""One context manager around a run: record and W&B opened at its start, closed with the truth at its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from gatescope.data.datamodule import SequenceData
from gatescope.instruments.measurements import Measurements
from gatescope.sequences import TaskSpec
from gatescope.tracking import predictions
from gatescope.tracking.directory import RecordError, link_by_name
from gatescope.tracking.identity import run_dir
from gatescope.tracking.ranks import rank
from gatescope.tracking.record import NoRecord, Record, RecordLogger
from gatescope.tracking.resume import Checkpoints, Saved, find, preemptible, tidy, write_bytes
from gatescope.tracking.runfile import Status, mend, read_config
from gatescope.tracking.tensorboard import log_scalars, make_tensorboard
from gatescope.tracking.variants import run_name
from gatescope.tracking.wandb import TolerantLogger, log_measurements, log_predictions, make_logger

log = logging.getLogger(__name__)

INTERRUPTED, PREEMPTED, FAILED = 130, 143, 1


@dataclass
class Tracked:
    """An open run: where everything that is measured goes."""

    record: Record
    checkpoints: Checkpoints
    resumed: Saved | None = None
    wandb: TolerantLogger | None = None
    loggers: list[Logger] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path | None:
        """Where training goes on from; None for a fresh run."""
        return None if self.resumed is None else self.resumed.path

    def describe(self, task: TaskSpec, parameters: dict[str, int], kernel: str | None = None) -> None:
        """Puts the task, the model's sizes and the kernel of its recurrence into run.json."""
        describe(self.record, task, parameters, kernel)
        if self.wandb is not None:
            self.wandb.describe(self.record)

    def measurements(self, measurements: Measurements, step: int, epoch: int) -> None:
        """Into the record first, then to W&B and TensorBoard."""
        self.record.measurements(measurements, step, epoch)
        if self.wandb is not None:
            log_measurements(self.wandb, measurements, step, epoch)
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                log_scalars(logger, measurements, step)

    def keep_predictions(self, columns: predictions.Columns, data: SequenceData, step: int) -> None:
        """Writes the predictions of the test split into the record, then shows them on W&B; of the ranks of a
        run only the first has any.

        Raises:
            RecordError: they cannot be written.
        """
        if not len(columns):
            return
        name, content = predictions.encode(columns)
        write_bytes(self.record.directory / name, content)
        for other in set(predictions.FILES) - {name}:
            (self.record.directory / other).unlink(missing_ok=True)
        if self.wandb is not None:
            log_predictions(self.wandb, columns, data, step)


def describe(record: Record, task: TaskSpec, parameters: dict[str, int], kernel: str | None = None) -> None:
    """Puts the task, the model's sizes and the kernel of its recurrence into run.json."""
    record.update(
        task={
            "kind": task.kind,
            "metric": task.metric,
            "direction": task.direction,
            "labels": list(task.labels),
            "notes": task.notes,
        },
        parameters=parameters,
        kernel=kernel,
    )


@contextmanager
def tracked(cfg: DictConfig) -> Iterator[Tracked]:
    """Opens the run of this config, or reopens it at its last checkpoint; on the way out writes its status,
    exit code and reason. Of the ranks of a run the first does so, the others write nothing.

    Raises:
        RecordError: the output directory cannot be written.
        CredentialsError: online tracking without credentials.
        TensorBoardMissing: TensorBoard was asked for and is not installed.
    """
    owner = rank() == 0
    record = Record(run_dir(cfg)) if owner else NoRecord(run_dir(cfg))
    begun = bool(mend(record.directory)) if owner else False
    resumed = None if cfg.force else find(record.directory)
    boards = []
    if owner and cfg.tracking.tensorboard:
        boards.append(make_tensorboard(record.directory, None if resumed is None else resumed.step))
    logger = make_logger(cfg, resumes=begun and not cfg.force) if owner else None
    repeats = owner and _logs_alike(read_config(record.directory), cfg)
    if resumed is None:
        record.begin(cfg)
    else:
        log.info("goes on from step %d: %s", resumed.step, resumed.path)
        record.resume(cfg, resumed.step, resumed.position)
    if owner:
        link_by_name(record.directory, run_name(cfg))
    loggers: list[Logger] = [RecordLogger(record), *boards]
    if logger is not None:
        loggers.append(logger)
    status: Status = "finished"
    exit_code, reason = 0, None
    try:
        with preemptible() as preemption:
            if logger is not None:
                hand_to_wandb(record, logger)
                logger.has = logger.has if repeats else min(logger.has, logger.rows)
            every = (cfg.checkpoint.every_n_steps, cfg.checkpoint.every_seconds)
            checkpoints = Checkpoints(record.directory, record.position, preemption, *every)
            yield Tracked(record, checkpoints, resumed, logger, loggers)
    except BaseException as error:
        status, exit_code, reason = outcome(error)
        if status == "interrupted":
            # Lightning turns Ctrl-C into exit 1 and leaves SIGINT ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from error
        raise
    finally:
        for board in boards:
            board.finalize(status)
        _close(cfg, record, logger, status, exit_code, reason)


def _logs_alike(earlier: Mapping[str, Any], cfg: DictConfig) -> bool:
    """Whether a try with the earlier config logged the same rows: its cadence is no part of the identity."""

    def cadence(config: Mapping[str, Any]) -> Any:
        return config.get("instruments"), (config.get("trainer") or {}).get("log_every_n_steps")

    now: Any = OmegaConf.to_container(cfg, resolve=True)
    return cadence(earlier) == cadence(now)


def outcome(error: BaseException) -> tuple[Status, int, str]:
    """(status, exit code, reason) of a run that ended by this exception."""
    if isinstance(error, SIGTERMException):
        return "preempted", PREEMPTED, str(error) or signal.SIGTERM.name
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return "interrupted", INTERRUPTED, "Ctrl-C"
    reason = f"{type(error).__name__}: {error}"
    # Bytes that are no text, of a file that is named or quoted, could not be written as text.
    told = reason.encode("utf-8", errors="backslashreplace").decode("utf-8")
    return "failed", getattr(error, "exit_code", FAILED), told


def _close(
    cfg: DictConfig,
    record: Record,
    logger: TolerantLogger | None,
    status: Status,
    exit_code: int,
    reason: str | None,
) -> None:
    try:
        record.end(status, exit_code, reason)
    except RecordError as error:
        if status == "finished":
            raise
        if RecordError.__name__ not in str(reason):  # else this is what ends the run, and is told once
            log.error("%s", error)
    else:
        if status == "finished" and not isinstance(record, NoRecord):
            tidy(record.directory, cfg.checkpoint.keep)
    if logger is not None:
        close_wandb(record, logger, exit_code)
        if logger.lost and status == "finished":
            complete_wandb(cfg, record)


def hand_to_wandb(record: Record, logger: TolerantLogger) -> None:
    """Names the W&B run in the record, and logs there what the record holds."""
    run = logger.experiment
    url = None if run.offline else run.url
    record.update(wandb={"id": run.id, "dir": str(run.dir), "url": url, "closed": False})
    logger.describe(record)
    logger.replay(record)
    logger.remove_earlier()


def close_wandb(record: Record, logger: TolerantLogger, exit_code: int) -> None:
    """Hands the rest of an ended run to W&B; afterwards its record says whether all has arrived there."""
    record.run["wandb"] |= {"closed": True}
    logger.hand_over(record)
    logger.close(record.summary, exit_code)
    record.run["wandb"] |= {"closed": not logger.lost}
    with suppress(RecordError):  # what could not be written was told at the end of the record
        record.save()


def complete_wandb(cfg: DictConfig, record: Record) -> None:
    """Gives W&B a finished run that it has not got whole: it was stopped there before all had arrived."""
    try:
        logger = make_logger(cfg, resumes=True)
    except Exception as error:  # whatever a service that cannot start makes wandb raise
        log.warning(
            "W&B still lacks a part of %s (%s); the same command tries again", record.directory, error
        )
        return
    if logger is not None:
        hand_to_wandb(record, logger)
        close_wandb(record, logger, 0)
