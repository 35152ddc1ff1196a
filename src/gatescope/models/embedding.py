"""The first map, from token ids to vectors."""

from __future__ import annotations

from torch import nn

from gatescope.sequences import TaskSpec


def make_embedding(task: TaskSpec, size: int) -> nn.Embedding:
    """Of width `size`, drawn from a normal distribution; or the pretrained vectors of the data, whatever
    their width, frozen if the task says so. The padding's vector is zero and has no gradient."""
    if task.vectors is None:
        return nn.Embedding(task.input_size, size, padding_idx=task.padding_index)
    return nn.Embedding.from_pretrained(task.vectors.clone(), task.frozen_vectors, task.padding_index)
