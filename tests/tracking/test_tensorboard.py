"""TensorBoard in addition: the same metrics and scalar readings as the record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import Compose
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gatescope.run import run
from gatescope.tracking.tensorboard import TensorBoardMissing, make_tensorboard

ASKED = ("tracking=tensorboard", "tracking.mode=disabled", "instruments.every_n_steps=2")


def shown(directory: Path) -> dict[tuple[str, int], float]:
    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag != "epoch"]
    return {(tag, event.step): event.value for tag in tags for event in events.Scalars(tag)}


def recorded(directory: Path) -> dict[tuple[str, int], float]:
    metrics = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    measurements = [json.loads(line) for line in (directory / "readings.jsonl").read_text().splitlines()]
    values = {
        (name, row["step"]): value
        for row in metrics
        for name, value in row.items()
        if name not in ("step", "epoch", "time")
    }
    return values | {(r["name"], r["step"]): r["value"] for r in measurements if r["kind"] == "scalar"}


def test_it_shows_what_was_recorded(small: Compose) -> None:
    directory = run(small(*ASKED)).directory
    assert shown(directory) == pytest.approx(recorded(directory), rel=1e-6, nan_ok=True)


def test_a_run_made_again_starts_afresh(small: Compose) -> None:
    directory = run(small(*ASKED)).directory
    before = set((directory / "tensorboard").glob("events.*"))
    run(small(*ASKED, "force=true"))
    after = set((directory / "tensorboard").glob("events.*"))
    assert before
    assert not before & after
    assert shown(directory) == pytest.approx(recorded(directory), rel=1e-6, nan_ok=True)


def test_what_was_written_after_the_checkpoint_goes(tmp_path: Path) -> None:
    first = make_tensorboard(tmp_path)
    for step in range(4):
        first.log_metrics({"loss": 1.0}, step)
    first.finalize("failed")
    # TensorBoard reads files in the order of their names, which hold the second and a count without zeros.
    for file in (tmp_path / "tensorboard").glob("events.*"):
        file.rename(file.with_name("events.out.tfevents.1000000000.earlier"))
    resumed = make_tensorboard(tmp_path, resumed_at=1)
    resumed.log_metrics({"loss": 2.0}, 2)
    resumed.finalize("success")
    assert shown(tmp_path) == {("loss", 0): 1.0, ("loss", 1): 1.0, ("loss", 2): 2.0}


def test_off_unless_asked_for(small: Compose) -> None:
    assert not (run(small("tracking=off")).directory / "tensorboard").exists()


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning_fabric.loggers.tensorboard.{name}", False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(TensorBoardMissing, match=r"gatescope\[tensorboard\]"):
        make_tensorboard(tmp_path)
