"""The error section of a report, from trained runs and from synthetic records."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import FAST, Compose

from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource
from gatescope.run import run
from gatescope.texts import texts_of
from gatescope.tracking import predictions

from .conftest import write_predictions, write_run

WORDS = ('say "hi", ![x](http://x/y.png)', "=1+1 | *stars*", "<script>alert(1)</script>")


def data(path: Path, labels: tuple[str, ...]) -> tuple[str, ...]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        # Nothing in a text tells its label: there are always errors.
        for i in range(150):
            writer.writerow([WORDS[i % 3], labels[(i // 3) % len(labels)]])
    options = (
        "data.text=text",
        "data.label=label",
        "data.tokenizer=split",
        "data.test=0.3",
        "data.min_freq=1",
    )
    return ("data=text_file", f"data.path={path}", *options, *FAST, "instruments=off", "study.name=own")


def written(root: Path, study: str = "own", figures: list[str] | None = None) -> Path:
    source, names = RecordSource(root, study), figures or ["metric_by_variant"]
    find_texts = texts_of if study == "own" else None  # of synthetic records there are no data
    return write_report(source, root / "out", False, names, find_texts).parent


def test_the_errors_of_trained_runs_with_their_texts(config: Compose, tmp_path: Path) -> None:
    settings = data(tmp_path / "my.csv", ("good | *really*", "=bad"))
    directories = [run(config(*settings, f"seed={seed}")).directory for seed in (0, 1, 2)]
    folder = written(tmp_path, figures=["confusion_matrix", "calibration"])
    kept = [pd.read_csv(d / "predictions.csv") for d in directories]

    confusion = pd.read_csv(folder / "tables" / "confusion.csv")
    assert confusion.n.sum() == sum(map(len, kept))
    right = confusion[confusion.true == confusion.predicted].n.sum()
    summaries = [json.loads((d / "run.json").read_text())["summary"]["test/accuracy"] for d in directories]
    assert right / confusion.n.sum() == pytest.approx(sum(summaries) / 3)
    assert set(confusion.true) == {"good | *really*", "'=bad"}

    errors = pd.read_csv(folder / "tables" / "errors.csv")
    (row, *_) = errors.to_dict("records")
    tables = [table.set_index("id") for table in kept]
    wrong = sum(t.target[row["id"]] != t.prediction[row["id"]] for t in tables)
    assert (row["wrong"], row["runs"]) == (wrong, 3)
    every = pd.concat([t.target != t.prediction for t in tables], axis=1).sum(axis=1)
    assert row["wrong"] == every.max()
    texts = [" ".join(text.split()) for text in WORDS]
    assert set(errors.text) <= {f"'{text}" if text[0] == "=" else text for text in texts}

    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "<summary>Errors on the test split</summary>" in readme
    assert "| id | wrong | loss | target | prediction | text |" in readme
    assert r"good \| \*really\*" in readme
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert 'id="errors"' in html
    assert "<script>alert(1)" not in html
    assert "![x](" not in readme

    classes = pd.read_csv(folder / "tables" / "classes.csv")
    assert classes.n.sum() == sum(map(len, kept))
    score = pd.read_csv(folder / "tables" / "calibration.csv").iloc[0]
    assert (score["calibration_error/n"], score["brier/n"]) == (3, 3)
    assert 0 < score["brier/mean"] < 2
    for name in ("confusion_matrix.png", "calibration.png"):
        assert (folder / name).exists()


def test_data_are_read_for_texts_that_are_shown(tmp_path: Path) -> None:
    for number, inputs, accuracy in ((10, "tokens", 0.7), (20, "features", 0.7), (30, "tokens", 1.0)):
        for seed in range(2):
            folder = write_run(tmp_path, "gru-none", seed, data={"lag": number})
            columns = write_predictions(folder, seed)
            if accuracy == 1.0:
                columns["prediction"] = columns["target"]
                (folder / "predictions.csv").write_bytes(predictions.encode(columns)[1])
            record = json.loads((folder / "run.json").read_text())
            record["task"]["inputs"] = inputs
            (folder / "run.json").write_text(json.dumps(record))
    read: list[int] = []

    def texts(config: dict[str, Any], predictions: pd.DataFrame) -> Any:
        read.append(config["data"]["lag"])
        return lambda ids: [f"text {i}" for i in ids]

    source = RecordSource(tmp_path, "toy")
    folder = write_report(source, tmp_path / "out", False, ["metric_by_variant"], texts).parent
    assert read == [10], "neither a series nor a test without errors"
    errors = pd.read_csv(folder / "tables" / "errors.csv")
    assert errors.groupby("condition").text.count().sort_values().tolist() == [0, 20]


@pytest.mark.slow
def test_data_that_have_changed_give_no_texts(
    config: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = data(tmp_path / "my.csv", ("good", "bad"))
    run(config(*settings))
    with_texts = pd.read_csv(written(tmp_path) / "tables" / "errors.csv")
    assert "text" in with_texts
    data(tmp_path / "my.csv", ("bad", "good"))
    shutil.rmtree(tmp_path / "out")
    texts_of.__globals__["_data"].cache_clear()
    folder = written(tmp_path)
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "tables" / "errors.csv"), with_texts.drop(columns="text")
    )
    assert "the data are not those that the run was tested on" in caplog.text
    assert "The texts of the test split are not available." in (folder / "README.md").read_text()
    (tmp_path / "my.csv").unlink()
    texts_of.__globals__["_data"].cache_clear()
    written(tmp_path)
    assert "the data cannot be loaded" in caplog.text


@pytest.mark.slow
def test_of_many_classes_the_readme_shows_twelve_and_the_page_all(tmp_path: Path) -> None:
    labels = [f"class {i:03d}" for i in range(100)]
    for seed in range(2):
        folder = write_run(tmp_path, "gru-none", seed, measurements=[])
        write_predictions(folder, seed, labels, 2000)
    out = written(tmp_path, "toy")
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert "12 of 100 classes" in readme
    assert sum(line.startswith("| class 0") for line in readme.splitlines()) == 12
    html = (out / "report.html").read_text(encoding="utf-8")
    assert html.count('<th scope="row" data-value="class 0') == 100
    assert len(pd.read_csv(out / "tables" / "classes.csv")) == 100
    assert len(html) < 1_000_000


def test_a_note_names_seeds_that_were_tested_on_other_examples(tmp_path: Path) -> None:
    for seed, labels in enumerate((("a", "b", "c"), ("b", "a", "c"))):
        folder = write_run(tmp_path, "gru-none", seed, measurements=[])
        write_predictions(folder, seed, labels)
        shown = pd.read_csv(folder / "predictions.csv")
        shown[["id", "loss", "target", "prediction", "p(a)", "p(b)", "p(c)"]].to_csv(
            folder / "predictions.csv", index=False
        )
    out = written(tmp_path, "toy")
    assert "were not tested on the same examples" in (out / "README.md").read_text(encoding="utf-8")
    assert not (out / "tables" / "errors.csv").exists()


def test_without_predictions_there_is_no_section(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "gru-none", 0, measurements=[])
    write_predictions(folder, 0)
    assert (written(tmp_path, "toy") / "tables" / "confusion.csv").exists()
    (folder / "predictions.csv").unlink()
    out = written(tmp_path, "toy")
    assert "Errors on the test split" not in (out / "README.md").read_text(encoding="utf-8")
    assert 'id="errors"' not in (out / "report.html").read_text(encoding="utf-8")
    assert {p.stem for p in (out / "tables").iterdir()} == {"variants"}
