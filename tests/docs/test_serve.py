"""The example of a service, as it stands on its page, asked by FastAPI's TestClient."""

from __future__ import annotations

import csv
import runpy
from dataclasses import asdict
from pathlib import Path

import pytest
from trained_runs import trained_run

import gatescope
from gatescope.commands.export import main

from .pages import write_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page, and an exported model."""
    path = tmp_path_factory.mktemp("served")
    write_files("docs/howto/serve.md", path)
    rows = [("a great film", "high"), ("a dull book", "low")] * 40
    with (path / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    options = ("data=text_file", f"data.path={path / 'reviews.csv'}", "model.hidden_size=6")
    run = trained_run(path / "runs", *options, "optimizer.lr=0.05")
    assert main([f"run={run}", f"out={path / 'model'}"]) == 0
    return path


def test_the_service_answers_as_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed (the extra serve)")
    testclient = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")
    monkeypatch.setenv("MODEL", str(folder / "model"))
    client = testclient.TestClient(runpy.run_path(str(folder / "app.py"))["app"])
    texts = ["a great film", "", None, "a dull book"]
    response = client.post("/predict", json={"texts": texts})
    assert response.status_code == 200
    answers = gatescope.load(folder / "model").predict(texts)
    assert response.json() == [
        asdict(answer) | {"probabilities": pytest.approx(answer.probabilities, abs=1e-6)}
        for answer in answers
    ]
    assert client.post("/predict", json={"texts": []}).status_code == 422
    assert client.post("/predict", json={"text": "a great film"}).status_code == 422
