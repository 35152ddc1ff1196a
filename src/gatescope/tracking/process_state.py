"""State of one process in the middle of an epoch that Lightning does not save."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from gatescope.cells.state import State
from gatescope.models.stack import HiddenState
from gatescope.training.module import SequenceTask


def get_process_state(module: pl.LightningModule) -> dict[str, Any]:
    """Return the states of random generators and training metrics, and the hidden states of stateful data."""
    _, numbers, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  libraries still use it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [torch.from_numpy(np.asarray(numbers).astype(np.int64)), *rest],
        "python": random.getstate(),
        "metrics": _metric_state(module),
        "waiting": _metric_buffer(module),
        "carried": {name: list(state) for name, state in _hidden_states(module).items()},
    }


def set_process_state(module: pl.LightningModule, state: dict[str, Any]) -> None:
    """Restore a state that `get_process_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    numbers, *rest = state["numpy"]
    np.random.set_state(("MT19937", numbers.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
    _load_metric_state(module, state["metrics"])
    buffered = state.get("waiting", [])  # missing in older checkpoints
    _metric_buffer(module)[:] = [[part.to(module.device) for part in batch] for batch in buffered]
    for name, (h, c) in state["carried"].items():
        hidden = State(h.to(module.device), None if c is None else c.to(module.device))
        _hidden_states(module)[name] = hidden


def _metric_state(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the states of the training metrics by name."""
    if not isinstance(module, SequenceTask):
        return {}
    module.train_metrics.persistent(True)
    try:
        return dict(module.train_metrics.state_dict())
    finally:
        module.train_metrics.persistent(False)  # else they are part of the module's own state


def _load_metric_state(module: pl.LightningModule, state: dict[str, Any]) -> None:
    if not isinstance(module, SequenceTask):
        return
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, dict):  # an older checkpoint, by the names of metrics instead of states
            metric = name.removeprefix("train_metrics.")
            tensors |= {f"{metric}.{key}": tensor for key, tensor in value["state"].items()}
        else:
            tensors[name] = value
    module.train_metrics.load_state_dict({name: t.to(module.device) for name, t in tensors.items()})


def _metric_buffer(module: pl.LightningModule) -> list[list[Tensor]]:
    """Return the buffered updates of the training metrics."""
    return module.train_metrics.buffer if isinstance(module, SequenceTask) else []


def _hidden_states(module: pl.LightningModule) -> HiddenState:
    """Return the hidden states with which the next training batch starts."""
    if not isinstance(module, SequenceTask):
        return {}
    hidden: HiddenState = module.hidden_states.setdefault("train", {})
    return hidden
