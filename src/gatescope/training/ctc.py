"""Connectionist temporal classification (Graves et al. 2006): the likelihood of the transcript.

Error rates are those of `transduction`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection

from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import Problems
from gatescope.models.ctc import CTCModel, too_short
from gatescope.models.encoder import SequenceModel
from gatescope.sequences import END, IGNORE, Split, first_answer
from gatescope.training import transduction

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Objective(transduction.Objective):
    """−log p(transcript | sound), divided by the number of symbols; error rates of what is generated."""

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return −log p of the first answer divided by the number of its symbols, as torch's mean has it.

        Shape:
            values: (B, T, V) log probabilities, with a certain blank after the end of a sequence; targets:
                (B, U); the result: (B,).
        """
        answer = first_answer(targets)
        sizes = ((answer != IGNORE) & (answer != END)).sum(1)
        steps = torch.full_like(sizes, values.shape[1])
        log_p = values.float().transpose(0, 1)
        losses = F.ctc_loss(log_p, answer.clamp(min=0), steps, sizes, blank=END, reduction="none")
        return losses / sizes.clamp(min=1)

    def training_metrics(self) -> MetricCollection:
        """Return no metrics: error rates need a search, which takes longer than the update."""
        return MetricCollection({})

    def training_outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return nothing; no view of the values, which would keep their memory."""
        return values.new_empty(0), targets.new_empty(0)


def prepare(model: SequenceModel, data: SequenceData) -> None:
    """Check that a model of CTC can learn the data, and count the n-grams of its language model.

    Args:
        model: Another model stays as it is.
        data: Data with splits.

    Raises:
        DataError: An example has fewer steps than its transcript needs.
    """
    if not isinstance(model, CTCModel):
        return
    assert data.splits is not None
    for split in SPLITS:
        examples, problems = getattr(data.splits, split), Problems(f"{split} split")
        for row, needed in too_short(examples.lengths.tolist(), examples.targets):
            steps = int(examples.lengths[row])
            what = f"{steps} steps, and CTC needs {needed} for its transcript"
            problems.add(data.place(split, row), f"{what}: use a smaller data.stack, or drop it")
        problems.check()
    model.fit_ngram(list(data.splits.train.targets))
