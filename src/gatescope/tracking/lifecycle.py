"""Start and end of a run: its record, W&B and TensorBoard are opened, and closed with its final status."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from gatescope.data.datamodule import SequenceData
from gatescope.instruments.measurements import Measurements
from gatescope.ranks import rank
from gatescope.sequences import TaskSpec
from gatescope.tracking import predictions
from gatescope.tracking.checkpoint_callback import ResumeCheckpoint
from gatescope.tracking.checkpoint_files import SavedCheckpoint, delete_checkpoints, find_checkpoint
from gatescope.tracking.directory import RecordError, link_by_name, write_atomically
from gatescope.tracking.identity import run_dir
from gatescope.tracking.preemption import handle_preemption
from gatescope.tracking.record import NullRecord, Record
from gatescope.tracking.record_logger import RecordLogger
from gatescope.tracking.run_names import run_name
from gatescope.tracking.runfile import Status, read_config, repair_run
from gatescope.tracking.tensorboard import log_scalars, make_tensorboard
from gatescope.tracking.wandb_upload import complete_upload, finish_upload, start_upload
from gatescope.training.monitor import Monitor

if TYPE_CHECKING:
    from gatescope.tracking.wandb import WandbRunLogger

log = logging.getLogger(__name__)

INTERRUPTED, PREEMPTED, FAILED = 130, 143, 1


@dataclass
class TrackedRun:
    """An open run, which receives everything that is measured.

    Attributes:
        record: Its record.
        checkpoints: Callback that saves checkpoints.
        resumed: Checkpoint from which it continues; None for a new run.
        wandb: Its W&B logger, if any.
        loggers: All loggers.
    """

    record: Record
    checkpoints: ResumeCheckpoint
    resumed: SavedCheckpoint | None = None
    wandb: WandbRunLogger | None = None
    loggers: list[Logger] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path | None:
        """Path of the checkpoint from which training continues; None for a new run."""
        return None if self.resumed is None else self.resumed.path

    def write_metadata(
        self,
        task: TaskSpec,
        parameters: dict[str, int],
        kernel: str | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        """Write task, numbers of parameters and kernel to run.json and to W&B.

        Args:
            task: Task of the data.
            parameters: Numbers of parameters by part of the model.
            kernel: Kernel of the recurrence.
            monitor: Metric by which weights are kept; None for that of the task.
        """
        write_metadata(self.record, task, parameters, kernel, monitor)
        if self.wandb is not None:
            self.wandb.update_config(self.record)

    def log_measurements(self, measurements: Measurements, step: int, epoch: int) -> None:
        """Write the measurements of one probe to the record, then to W&B and TensorBoard.

        Args:
            measurements: Measurements by name.
            step: Number of updates.
            epoch: Epoch.
        """
        self.record.log_measurements(measurements, step, epoch)
        if self.wandb is not None:
            self.wandb.log_measurements(measurements, step, epoch)
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                log_scalars(logger, measurements, step)

    def write_predictions(self, columns: predictions.Columns, data: SequenceData, step: int) -> None:
        """Write the predictions of the test split to the record, and show the errors on W&B.

        Args:
            columns: The predictions; empty on all ranks but the first.
            data: The data.
            step: Number of updates of the tested weights.

        Raises:
            RecordError: The file cannot be written.
        """
        if not len(columns):
            return
        name, content = predictions.encode(columns)
        write_atomically(self.record.directory / name, content)
        for other in set(predictions.FILES) - {name}:
            (self.record.directory / other).unlink(missing_ok=True)
        if self.wandb is not None:
            self.wandb.log_predictions(columns, data, step)


def write_metadata(
    record: Record,
    task: TaskSpec,
    parameters: dict[str, int],
    kernel: str | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Write task, numbers of parameters and kernel to run.json.

    Args:
        record: Record of the run.
        task: Task of the data.
        parameters: Numbers of parameters by part of the model.
        kernel: Kernel of the recurrence.
        monitor: Metric by which weights are kept; None for that of the task.
    """
    differs = monitor is not None and monitor.metric != task.metric
    record.update(
        task={
            "kind": task.kind,
            "inputs": task.inputs,
            "metric": task.metric,
            "direction": task.direction,
            "labels": list(task.labels),
            "notes": task.notes,
        }
        | ({"monitor": vars(monitor)} if differs else {}),
        parameters=parameters,
        kernel=kernel,
    )


@contextmanager
def track_run(cfg: DictConfig) -> Iterator[TrackedRun]:
    """Open the run of a config, new or at its last checkpoint, and write its final status afterwards.

    Only the first rank of a run writes anything.

    Args:
        cfg: Config of the run.

    Raises:
        RecordError: The output directory cannot be written.
        CredentialsError: Online tracking without credentials.
        TensorBoardMissing: TensorBoard is requested and not installed.
    """
    is_owner = rank() == 0
    record = Record(run_dir(cfg)) if is_owner else NullRecord(run_dir(cfg))
    exists = bool(repair_run(record.directory)) if is_owner else False
    resumed = None if cfg.force else find_checkpoint(record.directory)
    boards = []
    if is_owner and cfg.tracking.tensorboard:
        boards.append(make_tensorboard(record.directory, None if resumed is None else resumed.step))
    logger = None
    if is_owner and cfg.tracking.mode != "disabled":
        logger = _wandb_logger(cfg, resumes=exists and not cfg.force)
    logs_same_rows = is_owner and _logs_same_rows(read_config(record.directory), cfg)
    _open_record(record, cfg, resumed)
    if is_owner:
        link_by_name(record.directory, run_name(cfg))
    loggers: list[Logger] = [RecordLogger(record), *boards]
    if logger is not None:
        loggers.append(logger)
    status: Status = "finished"
    exit_code, reason = 0, None
    try:
        with handle_preemption() as preemption:
            if logger is not None:
                start_upload(record, logger)
                if not logs_same_rows:
                    logger.received = min(logger.received, logger.rows)
            intervals = (cfg.checkpoint.every_n_steps, cfg.checkpoint.every_seconds)
            checkpoints = ResumeCheckpoint(record.directory, record.position, preemption, *intervals)
            yield TrackedRun(record, checkpoints, resumed, logger, loggers)
    except BaseException as error:
        status, exit_code, reason = exit_status(error)
        if status == "interrupted":
            # Lightning turns Ctrl-C into exit code 1 and leaves SIGINT ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from error
        raise
    finally:
        for board in boards:
            board.finalize(status)
        _close(cfg, record, logger, status, exit_code, reason)


def _wandb_logger(cfg: DictConfig, resumes: bool) -> WandbRunLogger | None:
    """Return the W&B logger of a run; None, with a warning, if W&B cannot even write to disk.

    Raises:
        CredentialsError: Online tracking without credentials.
    """
    from gatescope.tracking.wandb import CredentialsError, make_logger  # imports wandb

    try:
        return make_logger(cfg, resumes)
    except CredentialsError:
        raise
    except Exception as error:  # a service that cannot start makes wandb raise many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("the run continues without W&B, which cannot start (%s); its record is complete", reason)
        return None


def _open_record(record: Record, cfg: DictConfig, resumed: SavedCheckpoint | None) -> None:
    """Begin a new record, or continue one from a checkpoint."""
    if resumed is None:
        record.begin(cfg)
    else:
        log.info("continues from step %d: %s", resumed.step, resumed.path)
        record.resume(cfg, resumed.step, resumed.position)


def _logs_same_rows(earlier: Mapping[str, Any], cfg: DictConfig) -> bool:
    """Return whether an attempt with the earlier config logged the same rows.

    Logging intervals are no part of a run's identity.
    """

    def intervals(config: Mapping[str, Any]) -> Any:
        return config.get("instruments"), (config.get("trainer") or {}).get("log_every_n_steps")

    current: Any = OmegaConf.to_container(cfg, resolve=True)
    return intervals(earlier) == intervals(current)


def exit_status(error: BaseException) -> tuple[Status, int, str]:
    """Return status, exit code and reason of a run that an exception ended."""
    if isinstance(error, SIGTERMException):
        return "preempted", PREEMPTED, str(error) or signal.SIGTERM.name
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return "interrupted", INTERRUPTED, "Ctrl-C"
    reason = f"{type(error).__name__}: {error}"
    # The name or content of a file may contain bytes that are not text and cannot be written as UTF-8.
    writable = reason.encode("utf-8", errors="backslashreplace").decode("utf-8")
    return "failed", getattr(error, "exit_code", FAILED), writable


def _close(
    cfg: DictConfig,
    record: Record,
    logger: WandbRunLogger | None,
    status: Status,
    exit_code: int,
    reason: str | None,
) -> None:
    """Close record and W&B, and delete the checkpoints that a finished run does not need."""
    try:
        record.end(status, exit_code, reason)
    except RecordError as error:
        if status == "finished":
            raise
        if RecordError.__name__ not in str(reason):  # else the error that ended the run is the same one
            log.error("%s", error)
    else:
        if status == "finished" and not isinstance(record, NullRecord):
            delete_checkpoints(record.directory, cfg.checkpoint.keep)
    if logger is not None:
        finish_upload(record, logger, exit_code, cfg.tracking.get("finish_seconds", 20.0))
        if logger.lost and status == "finished":
            complete_upload(cfg, record)
