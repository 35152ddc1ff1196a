"""Transfer of a run's record to W&B at its start and at its end."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from gatescope.tracking.directory import RecordError
from gatescope.tracking.record import Record
from gatescope.tracking.wandb_outage import time_limit

if TYPE_CHECKING:
    from gatescope.tracking.wandb import WandbRunLogger

log = logging.getLogger(__name__)


def start_upload(record: Record, logger: WandbRunLogger) -> None:
    """Write the W&B run's id to the record, and log the existing rows of the record on W&B.

    Args:
        record: Record of the run.
        logger: Logger of the W&B run.
    """
    run = logger.experiment
    url = None if run.offline else run.url
    record.update(wandb={"id": run.id, "dir": str(run.dir), "url": url, "closed": False})
    logger.update_config(record)
    logger.replay(record)
    logger.attempt(logger.delete_earlier_files)


def finish_upload(record: Record, logger: WandbRunLogger, exit_code: int, seconds: float = 20.0) -> None:
    """Upload the files of an ended run, and note in the record whether W&B has received everything.

    Args:
        record: Record of the run.
        logger: Logger of the W&B run.
        exit_code: Exit code of the command.
        seconds: Time that all of this may take.
    """
    record.run["wandb"] = (record.run.get("wandb") or {}) | {"closed": True}
    with time_limit(seconds):
        logger.upload_files(record)
        logger.close(record.summary, exit_code)
    record.run["wandb"] |= {"closed": not logger.lost}
    with suppress(RecordError):  # a full disk was reported at the end of the record
        record.save()


def complete_upload(cfg: DictConfig, record: Record) -> None:
    """Send a finished run again that W&B has not received completely.

    Args:
        cfg: Config of the run.
        record: Record of the run.
    """
    from gatescope.tracking.wandb import make_logger  # imports wandb

    try:
        logger = make_logger(cfg, resumes=True)
    except Exception as error:  # a service that cannot start makes wandb raise many types
        log.warning(
            "W&B has not received all of %s (%s); repeat the command to try again", record.directory, error
        )
        return
    if logger is not None:
        start_upload(record, logger)
        finish_upload(record, logger, 0, cfg.tracking.get("finish_seconds", 20.0))
