"""The embedding of token ids."""

from __future__ import annotations

import torch
from torch import nn

from gatescope.sequences import TaskSpec


def make_embedding(task: TaskSpec, size: int, std: float = 1.0) -> nn.Embedding:
    """Build the embedding: pretrained where the data have vectors, else drawn from a normal distribution.

    Pretrained vectors keep their own width and are frozen if the task says so. The vector of the padding is
    zero and has no gradient.

    Args:
        task: the task of the data.
        size: width of an embedding that is not pretrained.
        std: standard deviation of the new weights.
    """
    if task.vectors is None:
        return scaled(nn.Embedding(task.input_size, size, padding_idx=task.padding_index), std)
    return nn.Embedding.from_pretrained(task.vectors.clone(), task.frozen_vectors, task.padding_index)


def scaled(embedding: nn.Embedding, std: float) -> nn.Embedding:
    """Return an embedding whose weights, drawn from N(0, 1), have the standard deviation `std`."""
    with torch.no_grad():
        embedding.weight.mul_(std)
    return embedding
