"""The W&B source gives the tables that the records on disk give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
import yaml
from conftest import ROOT, Compose
from wandb_standin import StandIn, StoredRun, serving

from gatescope.analysis.runs import NoRuns, RecordSource, Tables
from gatescope.analysis.wandb_source import WandbSource, WandbUnreachable
from gatescope.run import run
from gatescope.tracking import wandb as tracking

from .conftest import write_run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    with serving() as standin:
        own = {"WANDB_CACHE_DIR": str(tmp_path / "wandb"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        for name, value in (standin.environment | own).items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        yield standin
        wandb.teardown()


def logged(server: StandIn, directory: Path, readings_file: bool = True) -> StoredRun:
    """What W&B would hold of a synthetic record."""
    record = json.loads((directory / "run.json").read_text())
    config = yaml.safe_load((directory / "config.yaml").read_text()) | {"record": record}
    stored = StoredRun(directory.name, "gatescope", {k: {"value": v} for k, v in config.items()})
    stored.group, stored.state = record["study"], "finished"
    rows = [_history(row) for row in _lines(directory / "metrics.jsonl")]
    rows += [
        {"_reading": 1, row["name"]: row["value"], "trainer/global_step": row["step"], "epoch": row["epoch"]}
        for row in _lines(directory / "readings.jsonl")
        if row["kind"] == "scalar"
    ]
    stored.history = [json.dumps(row | {"_step": i}) for i, row in enumerate(rows)]
    if readings_file:
        stored.files["readings.jsonl"] = (directory / "readings.jsonl").read_bytes()
    server.projects.add("gatescope")
    server.runs[stored.name] = stored
    return stored


def _history(row: dict[str, Any]) -> dict[str, Any]:
    values = {k: float("nan") if v is None else v for k, v in row.items() if k not in ("step", "time")}
    return values | {"trainer/global_step": row["step"], "_runtime": row["time"]}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_equal(ours: Tables, theirs: Tables) -> None:
    assert (ours.study, ours.task, ours.versions) == (theirs.study, theirs.task, theirs.versions)
    pd.testing.assert_frame_equal(_plain(ours.runs), _plain(theirs.runs))
    pd.testing.assert_frame_equal(_in_order(ours.metrics), _in_order(theirs.metrics))
    pd.testing.assert_frame_equal(ours.measurements, theirs.measurements)


def _in_order(metrics: pd.DataFrame) -> pd.DataFrame:
    """W&B hands out the names of a row in no order."""
    return _plain(metrics).sort_values(["run_id", "step", "name"], ignore_index=True)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["directory", "time"], errors="ignore")


def test_trained_runs_give_equal_tables(small: Compose, server: StandIn, tmp_path: Path) -> None:
    for seed in (0, 1):
        run(small("tracking=online", "instruments.every_n_steps=2", f"seed={seed}"))
    ours, theirs = RecordSource(tmp_path, "default").tables(), WandbSource("gatescope", "default").tables()
    assert_equal(ours, theirs)
    for run_id in ours.runs.run_id:
        assert ours.predictions(run_id) is not None
        pd.testing.assert_frame_equal(ours.predictions(run_id), theirs.predictions(run_id))
    assert set(ours.measurements.kind) >= {"scalar", "histogram", "points", "curve"}
    for run_id, config in ours.configs.items():
        assert config == {"scheduler": {}, "decoder": {}, "front": {}} | theirs.configs[run_id]


def test_all_pages_are_read(server: StandIn, tmp_path: Path) -> None:
    for seed in range(5):
        logged(server, write_run(tmp_path, "gru-none", seed))
    logged(server, write_run(tmp_path, "gru-none", 9, study={"name": "another"}))
    theirs = WandbSource("tester/gatescope", "toy", runs_per_page=2, rows_per_page=7).tables()
    assert_equal(RecordSource(tmp_path, "toy").tables(), theirs)
    assert server.operations.count("Runs") == 3
    assert server.operations.count("HistoryPage") > 5 * 2


def test_scalars_come_from_the_history_without_the_file(server: StandIn, tmp_path: Path) -> None:
    stored = logged(server, write_run(tmp_path, "gru-none", 0), readings_file=False)
    drawn = {"h": {"_type": "histogram", "bins": [0.0, 0.5, 1.0], "values": [3, 1]}}
    row = {"_reading": 1, "trainer/global_step": 40, "epoch": 4, "_step": len(stored.history)}
    stored.history.append(json.dumps(row | drawn))
    ours, theirs = RecordSource(tmp_path, "toy").tables(), WandbSource("gatescope", "toy").tables()
    columns = ["run_id", "step", "name", "value"]
    scalars = ours.measurements[ours.measurements.kind == "scalar"][columns].reset_index(drop=True)
    read = theirs.measurements[theirs.measurements.kind == "scalar"][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(scalars, read)
    (histogram,) = theirs.measurement("h").payload
    assert (histogram["edges"], histogram["counts"]) == ([0.0, 0.5, 1.0], [3, 1])


def test_only_runs_that_changed_are_fetched_again(server: StandIn, tmp_path: Path) -> None:
    for seed in range(3):
        logged(server, write_run(tmp_path, "gru-none", seed))
    source = WandbSource("gatescope", "toy")
    before = source.tables()
    server.operations.clear()
    assert_equal(before, source.tables())
    assert "HistoryPage" not in server.operations
    first, second, _ = server.runs.values()
    row = {"trainer/global_step": 50, "epoch": 5, "train/loss": 0.5, "_step": len(first.history)}
    first.history.append(json.dumps(row))
    del server.runs[second.name]
    after = source.tables()
    assert server.operations.count("HistoryPage") == 1
    assert set(after.runs.run_id) == set(server.runs)
    assert after.metric("train/loss").query("step == 50").value.tolist() == [0.5]


def test_a_failing_request_is_repeated(server: StandIn, tmp_path: Path) -> None:
    logged(server, write_run(tmp_path, "gru-none", 0))
    server.failures = 1
    assert len(WandbSource("gatescope", "toy").tables().runs) == 1


def test_runs_of_others_are_left_out(
    server: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logged(server, write_run(tmp_path, "gru-none", 0))
    server.runs["foreign"] = StoredRun("foreign", "gatescope", group="toy")
    assert len(WandbSource("gatescope", "toy").tables().runs) == 1
    assert "run foreign of tester/gatescope was not logged by gatescope" in caplog.text


def test_errors_name_missing_runs_and_projects(server: StandIn, tmp_path: Path) -> None:
    server.projects.add("gatescope")
    with pytest.raises(NoRuns, match=r"no runs of toy in tester/gatescope on W&B: .* `wandb sync`"):
        WandbSource("gatescope", "toy").tables()
    with pytest.raises(WandbUnreachable, match=r"in nowhere: .*; check project="):
        WandbSource("nowhere", "toy").tables()


@pytest.mark.slow
def test_a_report_can_be_written_from_wandb(server: StandIn, tmp_path: Path) -> None:
    for seed in range(2):
        logged(server, write_run(tmp_path / "runs", "gru-none", seed, measurements=[]))
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), "study=toy", "source=wandb"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert "0.700" in (tmp_path / done.stdout.strip()).read_text(encoding="utf-8")
    server.runs.clear()
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("report: no runs of toy in tester/gatescope on W&B")


def test_both_sides_use_the_same_names() -> None:
    from gatescope.analysis import wandb_source

    read = (wandb_source.RECORD_KEY, wandb_source.MEASUREMENT_MARK, wandb_source.MEASUREMENTS)
    assert read == (tracking.RECORD_KEY, tracking.READING_MARK, tracking.READINGS)
