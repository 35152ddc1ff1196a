"""The answer that looks at nothing: how often each answer occurs in train, or the mean of a real target."""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.baselines.base import Baseline
from gatescope.data.examples import Examples
from gatescope.data.ragged import Ragged
from gatescope.sequences import IGNORE, Batch, TaskSpec


class Majority(Baseline):
    """Log frequencies in train as logits, counted with half an occurrence more (Jeffreys), so that no loss is
    infinite: the commonest class wins. A regression is answered with the mean, which minimises the squared
    error; several labels a step with each label's own frequency."""

    task: TaskSpec
    answer: Tensor

    def fit(self, examples: Examples, task: TaskSpec) -> None:
        if task.kind == "transduction":
            raise ValueError("model=majority answers no transduction: choose data of another kind")
        targets = examples.targets.flat if isinstance(examples.targets, Ragged) else examples.targets
        assert isinstance(targets, Tensor)
        self.task = task
        if task.kind == "regression":
            self.answer = targets.mean().reshape(1)
        elif targets.is_floating_point():
            self.answer = torch.logit((targets.double().sum(0) + 0.5) / (len(targets) + 1)).float()
        else:
            counted = targets[targets != IGNORE].flatten()
            logs = torch.log(torch.bincount(counted, minlength=max(task.output_size, 2)) + 0.5)
            self.answer = logs[1:] - logs[:1] if task.output_size == 1 else logs

    def predict(self, batch: Batch) -> Tensor:
        shape = batch.inputs.shape[:2] if self.task.kind == "next_step" else batch.inputs.shape[:1]
        return self.answer.expand(*shape, -1)

    @property
    def parameters(self) -> int:
        return self.answer.numel()
