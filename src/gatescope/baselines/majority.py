"""A constant prediction: the frequency of each class in train, or the mean of a real target."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.baselines.base import Baseline
from gatescope.data.examples import Examples
from gatescope.data.ragged import Ragged
from gatescope.sequences import IGNORE, Batch, TaskSpec


class Majority(Baseline):
    """Log frequencies in train as logits, so that the most frequent class is predicted.

    Every class is counted with half an occurrence more (Jeffreys), so that no loss is infinite. A regression
    is predicted by the mean, which minimises the squared error; each of several labels per time step by its
    own frequency.
    """

    task: TaskSpec
    prediction: Tensor

    def fit(self, examples: Examples, task: TaskSpec) -> None:
        """Count the targets of a split."""
        if task.kind == "transduction":
            raise ValueError("model=majority cannot be used for a transduction: choose data of another kind")
        targets = examples.targets.flat if isinstance(examples.targets, Ragged) else examples.targets
        assert isinstance(targets, Tensor)
        self.task = task
        if task.kind == "regression":
            self.prediction = targets.mean(0).reshape(-1)
        elif targets.is_floating_point():
            self.prediction = torch.logit((targets.double().sum(0) + 0.5) / (len(targets) + 1)).float()
        else:
            counted = targets[targets != IGNORE].flatten()
            logs = torch.log(torch.bincount(counted, minlength=max(task.output_size, 2)) + 0.5)
            self.prediction = logs[1:] - logs[:1] if task.output_size == 1 else logs

    def predict(self, batch: Batch) -> Tensor:
        """Return the same logits or values for every example."""
        shape = batch.inputs.shape[:2] if self.task.every_step else batch.inputs.shape[:1]
        return self.prediction.expand(*shape, -1)

    @property
    def parameters(self) -> int:
        """Number of logits or values."""
        return self.prediction.numel()
