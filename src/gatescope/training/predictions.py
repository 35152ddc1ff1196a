"""Predictions of the test split, collected over batches and ranks in the order of the examples.

`gatescope.tracking.predictions` defines the columns and writes them to disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Columns = dict[str, Any]
"""Column names mapped to a list of B strings or an array (B,) of numbers."""


def batch_columns(ids: Tensor, losses: Tensor, columns: Mapping[str, Any]) -> Columns:
    """Return the columns of one batch: ids (B,), losses (B,) and those of the objective."""
    return {"id": to_numpy(ids), "loss": to_numpy(losses), **columns}


def to_numpy(values: Tensor) -> np.ndarray:
    """Return a tensor as an array on the CPU; bfloat16 and float16 become float32."""
    values = values.detach().cpu()
    if values.is_floating_point() and values.dtype != torch.float64:
        values = values.float()
    return values.numpy()


def concatenate(parts: Iterable[Columns]) -> Columns:
    """Concatenate the columns of batches and sort the rows by id; return {} if there are none."""
    batches = list(parts)
    if not batches:
        return {}
    order = np.argsort(np.concatenate([batch["id"] for batch in batches]), kind="stable")
    return {name: _reorder([batch[name] for batch in batches], order) for name in batches[0]}


def gather(columns: Columns) -> Columns:
    """Return the columns of all ranks on rank 0, and {} on the others; every rank must call this."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return columns
    is_first = torch.distributed.get_rank() == 0
    ranks: list[Any] | None = [None] * torch.distributed.get_world_size() if is_first else None
    torch.distributed.gather_object(columns, ranks)
    return concatenate(part for part in ranks if part) if ranks is not None else {}


def _reorder(parts: Sequence[Any], order: np.ndarray) -> Any:
    """Return the concatenated values of one column in this order."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[order]
    values = [value for part in parts for value in part]
    return [values[i] for i in order]
