"""Losses that are not finite, found at once on a CPU and later on a GPU."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import Compose
from torch import Tensor

from gatescope.run import run
from gatescope.training import finite_loss
from gatescope.training.finite_loss import LONGEST_QUEUE, FiniteLossCheck, NonFiniteLoss, Place


class Event:
    """An event that the device reaches when it is waited for."""

    def __init__(self) -> None:
        self.reached = False

    def query(self) -> bool:
        return self.reached

    def synchronize(self) -> None:
        self.reached = True


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Let losses run behind, as on a GPU; the events of their copies."""
    made: list[Event] = []

    def copied(loss: Tensor) -> tuple[Tensor, Event]:
        made.append(Event())
        return loss.clone(), made[-1]

    monkeypatch.setattr(finite_loss, "runs_behind", lambda loss: True)
    monkeypatch.setattr(finite_loss, "copied", copied)
    return made


def test_on_a_cpu_a_loss_is_checked_at_once() -> None:
    check, place = FiniteLossCheck(), Place("train", 3, 1)
    assert check.add(torch.tensor(1.0), place) is None
    assert check.add(torch.tensor(math.inf), place) == (math.inf, place)


def test_on_a_gpu_a_loss_is_checked_when_its_copy_is_there(events: list[Event]) -> None:
    check = FiniteLossCheck()
    assert check.add(torch.tensor(math.inf), Place("train", 0, 0)) is None
    assert check.add(torch.tensor(1.0), Place("train", 1, 0)) is None
    assert not events[0].reached  # nothing has waited
    events[0].reached = True
    assert check.add(torch.tensor(1.0), Place("train", 2, 0)) == (math.inf, Place("train", 0, 0))
    assert check.flush() is None


def test_the_queue_is_bounded(events: list[Event]) -> None:
    check = FiniteLossCheck()
    for step in range(LONGEST_QUEUE):
        assert check.add(torch.tensor(math.inf), Place("train", step, 0)) is None
    assert check.add(torch.tensor(1.0), Place("train", LONGEST_QUEUE, 0)) == (math.inf, Place("train", 0, 0))


@pytest.mark.parametrize("behind", [False, True])
def test_a_run_names_the_step_and_saves_no_weights_after_it(
    behind: bool,
    small: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if behind:
        request.getfixturevalue("events")
    cfg = small("optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    with pytest.raises(
        NonFiniteLoss, match=r"the train loss became (nan|inf) at step \d+ \(epoch 0\)"
    ) as raised:
        run(cfg)
    assert int(str(raised.value).split("at step ")[1].split()[0]) <= 3
    for path in tmp_path.rglob("*.ckpt"):
        state = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
        assert all(values.isfinite().all() for values in state.values())
