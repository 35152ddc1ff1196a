"""gatescope upload: the best weights as an artifact, by the stand-in for W&B's server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wandb
from trained_runs import SERIES, trained_run
from wandb_standin import ENTITY, serving

from gatescope.commands.export import main as export_main
from gatescope.commands.upload import main


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("runs"), *SERIES, "model.hidden_size=6", "kernel=torch")


def test_the_best_weights_arrive_with_all_that_they_need(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        for name, value in (server.environment | {"WANDB_SILENT": "true"}).items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        assert main([f"run={directory}", "project=models"]) == 0, capsys.readouterr().err
        wandb.teardown()
        assert capsys.readouterr().out.strip() == f"{ENTITY}/models/{directory.name}:best"
        ((key, stored),) = [
            (key, one) for key, one in server.artifacts.items() if one["artifactTypeName"] == "model"
        ]
        sent = {name.removeprefix(f"{key}/"): data for name, data in server.uploads.items()}
        assert stored["artifactCollectionName"] == directory.name
        assert {"checkpoints/best.ckpt", "model.json", "README.md"} <= set(sent)
        assert len(sent["checkpoints/best.ckpt"]) > 1000
        recorded = json.loads((directory / "run.json").read_text())["summary"]
        assert json.loads(stored["metadata"])["test/mse"] == pytest.approx(recorded["test/mse"])


def test_without_an_account_one_line_says_what_to_do(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", "/nonexistent")
    wandb.teardown()
    assert main([f"run={directory}"]) == 1
    assert "WANDB_API_KEY" in capsys.readouterr().err


def test_export_to_a_table_says_what_writes_one(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "zh.csv"
    assert export_main([f"run={directory}", f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"export: out={out}: a model is exported to a folder")
    assert "predict" in error
    assert not out.exists()
