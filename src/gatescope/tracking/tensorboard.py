"""TensorBoard, where asked for: metrics, and the readings that are one number, beside the record.

tensorboard --logdir runs
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from gatescope.instruments.measurements import Measurements, Scalar
from gatescope.tracking.steps import CountsUpdates

FOLDER = "tensorboard"


class BoardLogger(CountsUpdates, TensorBoardLogger):
    """Lightning's logger, whose rows carry the number of updates done."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, self.step_of(step))


class TensorBoardMissing(RuntimeError):
    """TensorBoard was asked for and is not installed."""


def make_tensorboard(directory: Path, resumed_at: int | None = None) -> BoardLogger:
    """Lightning's logger, writing to `<directory>/tensorboard`.

    Args:
        resumed_at: the step of the checkpoint that the run goes on from: what was written after it no longer
            counts. None for a fresh run: nothing that lies there does.

    Raises:
        TensorBoardMissing: the extra is not installed.
    """
    if resumed_at is None:
        shutil.rmtree(directory / FOLDER, ignore_errors=True)
    purge = None if resumed_at is None else resumed_at + 1
    try:
        return BoardLogger(directory, name=FOLDER, version="", default_hp_metric=False, purge_step=purge)
    except ModuleNotFoundError as error:
        raise TensorBoardMissing(
            "TensorBoard is asked for and not installed: "
            "pip install -c constraints.txt 'gatescope[tensorboard]', or use tracking=offline"
        ) from error


def log_scalars(logger: TensorBoardLogger, measurements: Measurements, step: int) -> None:
    logger.log_metrics({name: r.value for name, r in measurements.items() if isinstance(r, Scalar)}, step)
