"""TensorBoard files next to the record: metrics, and measurements that are a single number.

Show them with ``tensorboard --logdir runs``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from gatescope.instruments.measurements import Measurements, Scalar
from gatescope.tracking.steps import UpdateStepLogger

FOLDER = "tensorboard"


class TensorBoardRunLogger(UpdateStepLogger, TensorBoardLogger):
    """Lightning's TensorBoard logger, with rows numbered by completed updates."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row of metrics."""
        super().log_metrics(metrics, self.step_of(step))


class TensorBoardMissing(RuntimeError):
    """The config requests TensorBoard, which is not installed."""


def make_tensorboard(directory: Path, resumed_at: int | None = None) -> TensorBoardRunLogger:
    """Return a logger that writes to `<directory>/tensorboard`.

    Args:
        directory: Directory of the run.
        resumed_at: Step of the checkpoint from which the run continues; later rows are discarded. None for a
            new run, which discards all existing rows.

    Raises:
        TensorBoardMissing: TensorBoard is not installed.
    """
    if resumed_at is None:
        shutil.rmtree(directory / FOLDER, ignore_errors=True)
    purge = None if resumed_at is None else resumed_at + 1
    try:
        return TensorBoardRunLogger(
            directory, name=FOLDER, version="", default_hp_metric=False, purge_step=purge
        )
    except ModuleNotFoundError as error:
        raise TensorBoardMissing(
            "tracking.tensorboard is true, but TensorBoard is not installed: "
            "pip install -c constraints.txt 'gatescope[tensorboard]', or use tracking=offline"
        ) from error


def log_scalars(logger: TensorBoardLogger, measurements: Measurements, step: int) -> None:
    """Log the measurements that are a single number."""
    scalars = {name: one.value for name, one in measurements.items() if isinstance(one, Scalar)}
    logger.log_metrics(scalars, step)
