"""Online logging, `wandb sync`, resuming and artifacts, with a local stand-in for W&B's server."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import FAST, ROOT, SMALL, Compose
from tracking.records import at_step, send
from wandb_standin import ENTITY, StandIn, serving

from gatescope.cli import job
from gatescope.run import run
from gatescope.tracking import predictions
from gatescope.tracking.identity import run_dir

LOOKING = ("instruments=default", "instruments.every_n_steps=2")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    with serving() as standin:
        for name, value in (standin.environment | {"WANDB_CACHE_DIR": str(tmp_path / "cache")}).items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        yield standin
        wandb.teardown()


def recorded(directory: Path) -> list[dict[str, float]]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("time", "epoch")} for line in lines]


def arrived(server: StandIn, name: str) -> list[dict[str, float]]:
    rows = [json.loads(row) for row in server.runs[name].history]
    return [
        {"step": row.pop("trainer/global_step")}
        | {k: v for k, v in row.items() if k[0] != "_" and k != "epoch"}
        for row in rows
        if "_reading" not in row
    ]


def test_an_online_run_is_received_completely(small: Compose, server: StandIn) -> None:
    result = run(small("tracking=online", *LOOKING))
    name = result.directory.name
    stored = server.runs[name]
    assert (stored.project, stored.group, stored.job_type) == ("gatescope", "default", "train")
    assert (stored.state, stored.exit_code) == ("finished", 0)
    assert (stored.tags, stored.notes) == ([], "Model gru, attention none, on adding, seed 0.")
    assert arrived(server, name) == recorded(result.directory)
    assert stored.config["model"]["value"]["name"] == "gru"
    kept = json.loads((result.directory / "run.json").read_text())
    assert stored.config["record"]["value"] == kept
    assert kept["wandb"]["url"] == f"{server.url}/{ENTITY}/gatescope/runs/{name}"
    assert stored.files["readings.jsonl"] == (result.directory / "readings.jsonl").read_bytes()
    assert json.loads(stored.summary)["test/mse"] == kept["summary"]["test/mse"]
    assert stored.files["predictions.csv"] == (result.directory / "predictions.csv").read_bytes()


def media(server: StandIn, name: str, key: str) -> dict[str, Any]:
    """Return a table that a run has logged, as W&B received it."""
    rows = [row for row in map(json.loads, server.runs[name].history) if key in row]
    (row,) = rows
    return json.loads(server.runs[name].files[row[key]["path"]])  # type: ignore[no-any-return]


@pytest.mark.slow
def test_the_confusion_matrix_and_the_worst_errors_are_received(config: Compose, server: StandIn) -> None:
    data = ("data=tweets", "data.limit=300", "instruments=off", *FAST, "model.embedding_size=8")
    result = run(config(*data, "tracking=online"))
    name, kept = result.directory.name, predictions.read(result.directory / "predictions.csv")
    drawn = media(server, name, "test/confusion_matrix_table")
    assert drawn["columns"] == ["Actual", "Predicted", "nPredictions"]
    counts = {(true, said): n for true, said, n in drawn["data"]}
    assert len(counts) == 9
    for (true, said), n in counts.items():
        assert n == ((kept.target == true) & (kept.prediction == said)).sum()
    worst = media(server, name, "test/worst_errors")
    assert worst["columns"] == ["id", "loss", "target", "prediction", "text"]
    losses = kept.loss[kept.target != kept.prediction].sort_values(ascending=False).head(20)
    assert [row[1] for row in worst["data"]] == pytest.approx(list(losses), rel=1e-5)
    for i, _, target, prediction, _ in worst["data"]:
        assert (kept.target[i], kept.prediction[i]) == (target, prediction)
    assert [row[4] for row in worst["data"]] == result.data.texts("test", [row[0] for row in worst["data"]])
    assert arrived(server, name) == recorded(result.directory)


def test_an_error_in_a_table_does_not_affect_the_rest(
    small: Compose, server: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("no tables today")

    monkeypatch.setattr(wandb, "Table", refuse)
    directory = run(small("tracking=online", "instruments=off")).directory
    assert "W&B gets no table of the errors (RuntimeError: no tables today)" in caplog.text
    assert json.loads((directory / "run.json").read_text())["status"] == "finished"
    assert server.runs[directory.name].state == "finished"
    assert "predictions.csv" in server.runs[directory.name].files


def test_a_failed_run_has_failed_on_wandb(small: Compose, server: StandIn) -> None:
    with pytest.raises(Exception, match="loss"):
        run(small("tracking=online", "optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null"))
    (stored,) = server.runs.values()
    assert (stored.state, stored.exit_code) == ("failed", 1)
    assert stored.config["record"]["value"]["status"] == "failed"


@pytest.mark.slow
def test_an_offline_run_can_be_synced_later(small: Compose, server: StandIn, tmp_path: Path) -> None:
    result = run(small("tracking=offline", *LOOKING))
    assert server.operations == []
    folder = next(tmp_path.glob("default/wandb/offline-run-*"))
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    name = result.directory.name
    assert arrived(server, name) == recorded(result.directory)
    assert server.runs[name].files["readings.jsonl"] == (result.directory / "readings.jsonl").read_bytes()
    assert server.runs[name].state == "finished"


def test_a_resumed_run_continues_its_history(server: StandIn, tmp_path: Path) -> None:
    for steps in ((0, 1), (2, 3)):
        settings = wandb.Settings(silent=True, console="off")
        with wandb.init(project="p", id="r", resume="allow", dir=tmp_path, settings=settings) as logged:
            for step in steps:
                logged.log({"loss": 1.0 / (step + 1), "trainer/global_step": step})
    assert "RunResumeStatus" in server.operations
    rows = [json.loads(row) for row in server.runs["r"].history]
    assert [(row["_step"], row["trainer/global_step"]) for row in rows] == [(i, i) for i in range(4)]


def assert_whole(server: StandIn, directory: Path) -> None:
    """Check that one finished run has each row of the record once, in its order, with all scalars."""
    (stored,) = server.runs.values()
    assert (stored.name, stored.state) == (directory.name, "finished")
    history = [json.loads(row) for row in stored.history]
    assert [row["_step"] for row in history] == list(range(len(history)))
    times = ("seconds_per_epoch",)
    sent, kept = arrived(server, directory.name), recorded(directory)
    for row in (*sent, *kept):
        for name in times:
            row.pop(name, None)
    assert sent == kept
    looks: dict[int, dict[str, float]] = {}  # by the order of the calls: two looks may be at one step
    steps: dict[int, int] = {}
    for line in (directory / "readings.jsonl").read_text().splitlines():
        measurement = json.loads(line)
        if measurement["kind"] == "scalar":
            looks.setdefault(measurement["order"], {})[measurement["name"]] = measurement["value"]
            steps[measurement["order"]] = measurement["step"]
    predictions = ("test/confusion_matrix", "test/worst_errors")  # rows of the end, which are no looks
    marked = [
        row for row in history if "_reading" in row and not any(key.startswith(predictions) for key in row)
    ]
    assert [row["trainer/global_step"] for row in marked] == list(steps.values())
    assert all(look.items() <= row.items() for look, row in zip(looks.values(), marked, strict=True))
    assert stored.files["readings.jsonl"] == (directory / "readings.jsonl").read_bytes()


def sync(root: Path) -> None:
    folders = [str(path) for path in root.glob("default/wandb/offline-run-*")]
    command = [sys.executable, "-m", "wandb", "sync", *folders]
    subprocess.run(command, capture_output=True, env=os.environ, timeout=60, check=True)


LONGER = ("trainer.max_epochs=3", "instruments=default", "instruments.every_n_steps=2")


@pytest.mark.parametrize("mode", ["offline", pytest.param("online", marks=pytest.mark.slow)])
def test_a_killed_and_resumed_run_is_received_completely(
    small: Compose, server: StandIn, tmp_path: Path, mode: str
) -> None:
    # So many epochs that the run cannot end before it is killed.
    often = ("checkpoint.every_n_steps=5", "instruments.every_n_steps=32", "trainer.max_epochs=60")
    words = (*SMALL, *FAST, *LONGER, *often, f"tracking={mode}")
    command = [sys.executable, str(ROOT / "train.py"), *words, f"root={tmp_path}"]
    cfg = small(*words)
    last = run_dir(cfg) / "checkpoints" / "last.ckpt"
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL) as process:
        while not last.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.4))
        process.kill()
    directory = run(cfg).directory
    assert json.loads((directory / "run.json").read_text())["resumed"]
    if mode == "offline":
        sync(tmp_path)
    assert_whole(server, directory)


@pytest.mark.parametrize(
    "lost", [0, pytest.param(5, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.slow)]
)
def test_only_missing_rows_are_sent(small: Compose, server: StandIn, lost: int) -> None:
    stop = at_step(8, send(signal.SIGINT))[0]
    words = (*LONGER, stop, "tracking=online", "checkpoint.every_n_steps=3")
    cfg = small(*words)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    stored = server.runs[run_dir(cfg).name]
    stored.history = stored.history[: max(0, len(stored.history) - lost)]
    stored.summary = stored.history[-1] if stored.history else "{}"
    at_step(-1, lambda: None)
    assert_whole(server, run(cfg).directory)


def test_an_incomplete_upload_is_completed(
    small: Compose, server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small(*LONGER, "tracking=offline")

    def killed(*_: object) -> None:
        wandb.teardown()
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("gatescope.tracking.lifecycle.finish_upload", killed)
        with pytest.raises(SystemExit):
            run(cfg)
    before = (run_dir(cfg) / "metrics.jsonl").read_bytes()
    assert json.loads((run_dir(cfg) / "run.json").read_text())["status"] == "finished"
    assert isinstance(job(cfg), float)
    assert (run_dir(cfg) / "metrics.jsonl").read_bytes() == before
    sync(tmp_path)
    assert_whole(server, run_dir(cfg))


def test_an_artifact_is_committed(server: StandIn, tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("0.5")
    with wandb.init(project="p", dir=tmp_path, settings=wandb.Settings(silent=True, console="off")) as logged:
        artifact = wandb.Artifact("weights", "model")
        artifact.add_file(str(tmp_path / "weights.txt"))
        logged.log_artifact(artifact)
    (stored,) = server.artifacts.values()
    assert (stored["artifactCollectionName"], stored["state"]) == ("weights", "COMMITTED")
    assert b"0.5" in server.uploads.values()


def test_an_unknown_artifact_is_an_error(server: StandIn) -> None:
    with pytest.raises((ValueError, wandb.Error), match="not found"):
        wandb.Api(timeout=5).run(f"{ENTITY}/gatescope/none").load(force=True)
