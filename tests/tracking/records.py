"""Shared by tests of resumed runs: comparison of records, and interruption at a given step."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements
from gatescope.instruments.probe import Probe
from gatescope.run import run
from gatescope.tracking.checkpoint_callback import ResumeCheckpoint
from gatescope.tracking.identity import run_dir

TIMES = ("time", "seconds_per_epoch")


def rows(directory: Path, name: str = "metrics") -> list[dict[str, Any]]:
    """Return the rows of a record without durations."""
    path = directory / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def record(directory: Path) -> dict[str, Any]:
    """Return the content of run.json."""
    return json.loads((directory / "run.json").read_text())  # type: ignore[no-any-return]


def weights(directory: Path, name: str) -> dict[str, torch.Tensor]:
    """Return the weights in a checkpoint."""
    path = directory / "checkpoints" / name
    return torch.load(path, weights_only=True)["state_dict"]  # type: ignore[no-any-return]


def assert_same(one: Path, other: Path) -> None:
    """Check that rows and summaries are equal, and the last and best weights bit-equal."""
    assert rows(one) == rows(other)
    assert rows(one, "readings") == rows(other, "readings")
    first, second = ({k: v for k, v in record(d)["summary"].items() if k not in TIMES} for d in (one, other))
    assert first == second
    for name in ("last.ckpt", "best.ckpt"):
        expected, found = weights(one, name), weights(other, name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected), name


class Stop(Exception):
    """Raised by `stop_at` to end a run."""


def stop_at(monkeypatch: pytest.MonkeyPatch, cfg: DictConfig, checkpoint: int) -> Path:
    """Run until this number of checkpoints was written, and return the directory of the run."""
    save, saves = ResumeCheckpoint._save, []

    def saving(self: ResumeCheckpoint, trainer: Trainer) -> None:
        save(self, trainer)
        saves.append(trainer.global_step)
        if len(saves) == checkpoint:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(ResumeCheckpoint, "_save", saving)
        with pytest.raises(Stop):
            run(cfg)
    return run_dir(cfg)


class AtStep(ProbeInstrument):
    """Instrument that calls `act` at one step; like all instruments, no part of a run's identity."""

    act: Callable[[], object]
    step: int = 0

    def read(self, probe: Probe) -> Measurements:
        if probe.step == AtStep.step:
            AtStep.act()
        return {}


AT_STEP = ("+instruments.readers.at_step={_target_: tracking.records.AtStep}", "instruments.every_n_steps=1")


def at_step(step: int, act: Callable[[], object]) -> tuple[str, ...]:
    """Return overrides with which a run in this process calls `act` at the probe after `step` updates."""
    AtStep.step, AtStep.act = step, staticmethod(act)  # type: ignore[assignment]
    return AT_STEP


def send(number: signal.Signals) -> Callable[[], None]:
    """Return a function that sends this process a signal."""
    return lambda: os.kill(os.getpid(), number)
