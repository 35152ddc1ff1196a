"""Where in the test split each hidden unit is highest and lowest: the passages that a unit responds to.

Source: Strobelt et al. 2018, "LSTMVis" (matching of states).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatescope.data.errors import DataError
from gatescope.explain.rows import gates_of
from gatescope.instruments.probe import undisturbed
from gatescope.sequences import valid_mask
from gatescope.trained import LoadError, Trained

BATCH = 256
COUNT = 4
"""Number of passages at either end."""
Place = tuple[int, int, float]
"""Index of an example of the test split, step, and value there."""


@dataclass(frozen=True)
class Passages:
    """Passages of the test split by unit.

    Attributes:
        searched: number of test examples that were searched.
        tokens: tokens of each example that has a passage, by its index.
        highest: by "<layer>: <gate>", for each unit the places where it is highest, one an example.
        lowest: likewise the lowest.
    """

    searched: int
    tokens: dict[int, list[str]]
    highest: dict[str, list[list[Place]]]
    lowest: dict[str, list[list[Place]]]


@torch.no_grad()
def find_passages(trained: Trained, examples: int, but: int | None = None) -> Passages | None:
    """Search the first examples of the test split.

    Args:
        trained: a finished run.
        examples: largest number of examples that are searched.
        but: index of an example that is left out: the one that is explained.

    Returns:
        None for inputs that are no tokens, and where the data are no longer available.
    """
    if not examples or trained.task.inputs != "tokens":
        return None
    try:
        data = trained.data
    except (DataError, LoadError):
        return None
    assert data.splits is not None
    indices = [index for index in range(min(examples, len(data.splits.test))) if index != but]
    if not indices:
        return None
    extremes: dict[str, list[tuple[Tensor, ...]]] = {}
    with undisturbed(trained.model):
        for start in range(0, len(indices), BATCH):
            batch = data.batch("test", indices[start : start + BATCH]).to(trained.model.device)
            _, traces = trained.model.stack.trace(trained.model.embed(batch.inputs), batch.lengths)
            padding = ~valid_mask(batch.lengths, batch.inputs.shape[1])
            for layer, trace in traces.items():
                for gate, values in gates_of(trace):
                    top = values.masked_fill(padding[..., None], -torch.inf).max(1)
                    bottom = values.masked_fill(padding[..., None], torch.inf).min(1)
                    extremes.setdefault(f"{layer}: {gate}", []).append((*top, *bottom))
    highest, lowest = {}, {}
    for name, parts in extremes.items():
        high, high_at, low, low_at = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        highest[name] = _places(high, high_at, indices, largest=True)
        lowest[name] = _places(low, low_at, indices, largest=False)
    ends = [places for found in (highest, lowest) for rows in found.values() for places in rows]
    used = sorted({example for places in ends for example, _, _ in places})
    tokens = trained.task.tokens(data.batch("test", used))
    assert tokens is not None
    return Passages(len(indices), dict(zip(used, tokens, strict=True)), highest, lowest)


def _places(values: Tensor, steps: Tensor, indices: list[int], largest: bool) -> list[list[Place]]:
    """Return the places of the most extreme values (N, H) of each unit."""
    found = values.topk(min(COUNT, len(values)), dim=0, largest=largest)
    rows, at = found.indices, steps.gather(0, found.indices)
    return [
        [
            (indices[row], step, round(value, 4))
            for row, step, value in zip(
                rows[:, unit].tolist(), at[:, unit].tolist(), found.values[:, unit].tolist(), strict=True
            )
        ]
        for unit in range(values.shape[1])
    ]
