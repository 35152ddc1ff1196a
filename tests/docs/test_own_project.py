"""The pages "Add your own": their files and commands as they stand there, in a folder of the reader's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from .pages import blocks, write_files


def follow(page: str, folder: Path) -> None:
    """Write the files of a page, and run its commands in order."""
    write_files(page, folder)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GATESCOPE": str(ROOT),
        "RUNS_DIR": str(folder / "runs"),
        "OMP_NUM_THREADS": "1",
    }
    for block in blocks(page, "sh"):
        done = subprocess.run(
            ["bash", "-euc", block.code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def only_run(folder: Path) -> Path:
    """Return the folder of the one run that a page's command trained."""
    (record,) = folder.glob("runs/default/*/run.json")
    assert json.loads(record.read_text())["status"] == "finished"
    return record.parent


def measured(run: Path) -> dict[str, float | None]:
    """Return the last value of each measurement; None where it is no scalar."""
    rows = map(json.loads, (run / "readings.jsonl").read_text().splitlines())
    return {row["name"]: row.get("value") for row in rows}


@pytest.mark.slow
def test_use_a_trained_model(tmp_path: Path) -> None:
    follow("docs/howto/trained-model.md", tmp_path)
    answers = (tmp_path / "answers.csv").read_text().splitlines()
    assert answers[0] == "review,stars,prediction,p(high),p(low),warning"
    assert len(answers) == 61
    assert json.loads((tmp_path / "scores.json").read_text())["examples"] == 60


@pytest.mark.slow
def test_dataset(tmp_path: Path) -> None:
    follow("docs/extend/dataset.md", tmp_path)
    run = only_run(tmp_path)
    assert run.name.startswith("gru-none-first_and_last-s0-")
    assert len((run / "predictions.csv").read_text().splitlines()) == 101


@pytest.mark.slow
def test_cell(tmp_path: Path) -> None:
    follow("docs/extend/cell.md", tmp_path)
    found = measured(only_run(tmp_path))
    assert found["gradient_flow/self_test"] is not None
    assert found["gradient_flow/self_test"] < 1e-4
    assert {"gates/layer1_backward/keep/mean", "gradient_norm/layer0/input_weights/candidate"} <= set(found)


@pytest.mark.slow
def test_instrument(tmp_path: Path) -> None:
    follow("docs/extend/instrument.md", tmp_path)
    found = measured(only_run(tmp_path))
    names = {f"state_speed/layer0/{name}" for name in ("norm", "relative", "by_step")}
    assert names | {"gates/layer0/keep/mean"} <= set(found)


@pytest.mark.slow
def test_attention(tmp_path: Path) -> None:
    follow("docs/extend/attention.md", tmp_path)
    assert only_run(tmp_path).name.startswith("gru-first_entry-")


@pytest.mark.slow
def test_loss(tmp_path: Path) -> None:
    follow("docs/extend/loss.md", tmp_path)
    summary = json.loads((only_run(tmp_path) / "run.json").read_text())["summary"]
    assert 0 < summary["test/multiclass_auroc"] < 1


@pytest.mark.slow
def test_study_and_figure(tmp_path: Path) -> None:
    follow("docs/extend/study.md", tmp_path)
    assert len(list(tmp_path.glob("runs/memory/*/run.json"))) == 6
    page = (tmp_path / "reports" / "memory" / "README.md").read_text(encoding="utf-8")
    assert "Does a gate help to remember" in page
    assert re.match(r"# (GRU|RNN) remembers best\n", page)
    assert "It is significantly ahead of 0 of 1 others." in page
    follow("docs/extend/figure.md", tmp_path)
    assert (tmp_path / "reports" / "memory" / "reach_by_variant.svg").exists()
