"""Lightning's logger for the record: values passed to `self.log` become rows of metrics.jsonl."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from gatescope.tracking.record import Record
from gatescope.tracking.steps import UpdateStepLogger


class RecordLogger(UpdateStepLogger):
    """Writes metrics to a record.

    Args:
        record: The record.
    """

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "record"

    @property
    def version(self) -> str:
        """Id of the run."""
        return str(self.record.run.get("run_id", ""))

    @property
    def save_dir(self) -> str:
        """Directory of the run."""
        return str(self.record.directory)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row of metrics."""
        values = {name: float(value) for name, value in metrics.items()}
        epoch = values.pop("epoch", None)
        self.record.log_metrics(values, self.step_of(step), None if epoch is None else int(epoch))

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the record contains the resolved config."""
