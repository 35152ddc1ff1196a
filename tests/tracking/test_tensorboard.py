"""TensorBoard has the same metrics and scalar measurements as the record."""

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


def test_it_contains_the_recorded_values(small: Compose) -> None:
    directory = run(small(*ASKED)).directory
    assert shown(directory) == pytest.approx(recorded(directory), rel=1e-6, nan_ok=True)


def test_a_repeated_run_starts_with_empty_files(small: Compose) -> None:
    directory = run(small(*ASKED)).directory
    before = set((directory / "tensorboard").glob("events.*"))
    run(small(*ASKED, "force=true"))
    after = set((directory / "tensorboard").glob("events.*"))
    assert before
    assert not before & after
    assert shown(directory) == pytest.approx(recorded(directory), rel=1e-6, nan_ok=True)


def test_rows_after_the_checkpoint_are_discarded(tmp_path: Path) -> None:
    first = make_tensorboard(tmp_path)
    for step in range(4):
        first.log_metrics({"loss": 1.0}, step)
    first.finalize("failed")
    # TensorBoard reads files in the order of their names, which contain the second and an unpadded count.
    for file in (tmp_path / "tensorboard").glob("events.*"):
        file.rename(file.with_name("events.out.tfevents.1000000000.earlier"))
    resumed = make_tensorboard(tmp_path, resumed_at=1)
    resumed.log_metrics({"loss": 2.0}, 2)
    resumed.finalize("success")
    assert shown(tmp_path) == {("loss", 0): 1.0, ("loss", 1): 1.0, ("loss", 2): 2.0}


def test_it_is_off_by_default(small: Compose) -> None:
    assert not (run(small("tracking=off")).directory / "tensorboard").exists()


def test_the_message_names_the_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning_fabric.loggers.tensorboard.{name}", False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(TensorBoardMissing, match=r"gatescope\[tensorboard\]"):
        make_tensorboard(tmp_path)
