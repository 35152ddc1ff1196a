"""The mean of the monitored metric over the last validations, by which the best weights are chosen."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytorch_lightning as pl


class SmoothedMonitor(pl.Callback):
    """Averages a validation metric over the last validations.

    The accuracy of a few hundred validation examples varies by chance from epoch to epoch, and its maximum
    is then often that of an early epoch. The mean is one of `trainer.callback_metrics`, and is not recorded.

    Args:
        metric: Name of the metric, such as "validation/accuracy".
        window: Number of validations.
    """

    def __init__(self, metric: str, window: int) -> None:
        super().__init__()
        self.metric = metric
        self.values: deque[float] = deque(maxlen=window)

    @property
    def name(self) -> str:
        """The name of the mean in `trainer.callback_metrics`."""
        return f"{self.metric}, mean of {self.values.maxlen}"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute the mean. Lightning calls checkpoints after all other callbacks."""
        if self.metric in trainer.callback_metrics:
            current = trainer.callback_metrics[self.metric]
            self.values.append(float(current))
            trainer.callback_metrics[self.name] = current.new_tensor(sum(self.values) / len(self.values))

    def state_dict(self) -> dict[str, Any]:
        """Return the last values."""
        return {"values": list(self.values)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.values.extend(state_dict["values"])
