"""State of a process in the middle of an epoch."""

from __future__ import annotations

import torch
from conftest import Compose
from torch import Tensor

from gatescope.run import build_module, load_data
from gatescope.tracking.process_state import get_process_state, set_process_state
from gatescope.training.module import SequenceTask


def trained_module(config: Compose, batches: int) -> SequenceTask:
    """Return a module whose training metrics have been updated with some batches."""
    cfg = config("data=delayed_recall", "data.lag=3", "data.train=64", "data.batch_size=16")
    data = load_data(cfg)
    module = build_module(cfg, data)
    for batch in list(data.train_dataloader())[:batches]:
        values = module(batch).detach()
        module.train_metrics.update(*module.objective.training_outcome(values, batch.targets))
    return module


def accuracy(module: SequenceTask) -> Tensor:
    """Return the training accuracy."""
    module.train_metrics.flush()
    return module.train_metrics.compute()["train/accuracy"]


def test_training_metrics_continue(config: Compose) -> None:
    module, other = trained_module(config, 3), trained_module(config, 1)
    module.train_metrics.flush()
    state = get_process_state(module)
    assert not any("train_metrics" in name for name in module.state_dict())
    set_process_state(other, state)
    other.train_metrics.update(torch.tensor([0]), torch.tensor([0]))
    module.train_metrics.update(torch.tensor([0]), torch.tensor([0]))
    torch.testing.assert_close(accuracy(other), accuracy(module), rtol=0, atol=0)


def test_an_older_checkpoint_can_be_continued(config: Compose) -> None:
    module, other = trained_module(config, 3), trained_module(config, 1)
    module.train_metrics.flush()
    state = get_process_state(module)
    older: dict[str, dict[str, object]] = {}
    for name, value in state["metrics"].items():
        metric, _, key = name.rpartition(".")
        older.setdefault(f"train_metrics.{metric}", {"count": 1, "state": {}})["state"][key] = value
    set_process_state(other, state | {"metrics": older})
    other.train_metrics.update(torch.tensor([0]), torch.tensor([0]))
    module.train_metrics.update(torch.tensor([0]), torch.tensor([0]))
    torch.testing.assert_close(accuracy(other), accuracy(module), rtol=0, atol=0)
