"""What a test leaves of each example: collected batch by batch, over ranks, in order of the examples.

`gatescope.tracking.predictions` says what the columns are and writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Columns = dict[str, Any]
"""Names -> a list of B strings or an array (B,) of numbers each."""


def batch_columns(ids: Tensor, losses: Tensor, own: Mapping[str, Any]) -> Columns:
    """Of one batch: ids (B,), losses (B,), and what the objective's `columns` gave."""
    return {"id": array(ids), "loss": array(losses), **own}


def array(values: Tensor) -> np.ndarray:
    """On the CPU, as numpy, which has no bfloat16."""
    values = values.detach().cpu()
    return (
        values.float() if values.is_floating_point() and values.dtype != torch.float64 else values
    ).numpy()


def joined(parts: Iterable[Columns]) -> Columns:
    """All batches as one, in order of id; {} of none."""
    found = list(parts)
    if not found:
        return {}
    order = np.argsort(np.concatenate([part["id"] for part in found]), kind="stable")
    return {name: _chosen([part[name] for part in found], order) for name in found[0]}


def gathered(columns: Columns) -> Columns:
    """Those of all ranks as one, on rank 0; {} on the others. Every rank must call it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return columns
    owner = torch.distributed.get_rank() == 0
    ranks: list[Any] | None = [None] * torch.distributed.get_world_size() if owner else None
    torch.distributed.gather_object(columns, ranks)
    return joined(part for part in ranks if part) if ranks is not None else {}


def _chosen(parts: Sequence[Any], order: np.ndarray) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[order]
    every = [value for part in parts for value in part]
    return [every[i] for i in order]
