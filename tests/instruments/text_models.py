"""Small text classifiers and a batch of texts."""

from __future__ import annotations

import torch

from gatescope.cells.gru import GRU
from gatescope.models.attention import Additive
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, TaskSpec, valid_mask

LENGTHS = torch.tensor([6, 3, 1, 5])


def text_task(classes: int) -> TaskSpec:
    outputs = 1 if classes == 2 else classes
    return TaskSpec("classification", "tokens", 12, outputs, "accuracy", "max", padding_index=0)


def text_model(cell=GRU, classes: int = 3, attention=Additive, **options) -> Encoder:
    torch.manual_seed(0)
    model = Encoder(text_task(classes), cell, attention, hidden_size=4, embedding_size=5, **options)
    return model.double().eval()


def text_batch() -> Batch:
    torch.manual_seed(1)
    inputs = torch.randint(1, 12, (4, 6)) * valid_mask(LENGTHS, 6)
    return Batch(inputs, LENGTHS, torch.zeros(4, dtype=torch.long), torch.arange(4))
