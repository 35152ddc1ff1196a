"""A run as a folder: it answers as the run does, on a machine that has neither the run nor its data."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from trained_runs import SERIES, answer_without_heavy_imports, trained_run

import gatescope
from gatescope.commands.export import main
from gatescope.trained import Answer, LoadError

TEXTS = ["a great film", "an awful, dull song", "a poor book", ""]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run on a file of texts."""
    folder = tmp_path_factory.mktemp("reviews")
    path, good, bad = folder / "reviews.csv", ("great", "lovely", "fine"), ("dull", "awful", "poor")
    rows = [f'"a {good[i % 3]} film, {good[i % 2]} song",high\na {bad[i % 3]} book,low\n' for i in range(60)]
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    fast = (
        "data=text_file",
        f"data.path={path}",
        "model.hidden_size=8",
        "attention=dot",
        "optimizer.lr=0.05",
    )
    return trained_run(folder / "runs", *fast)


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported folder."""
    out = tmp_path_factory.mktemp("exported") / "model"
    assert main([f"run={run}", f"out={out}"]) == 0
    return out


def same(found: list[Answer], expected: list[Answer]) -> None:
    for answer, one in zip(found, expected, strict=True):
        assert (answer.label, answer.warning, answer.symbols) == (one.label, one.warning, one.symbols)
        assert answer.probabilities == pytest.approx(one.probabilities, abs=1e-6)
        assert answer.value == pytest.approx(one.value)


def test_the_folder_alone_answers_as_the_run(run: Path, folder: Path, tmp_path: Path) -> None:
    expected = gatescope.load(run).predict(TEXTS)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "model")
    hidden = run.rename(run.with_name("hidden"))
    try:
        same(gatescope.load(moved).predict(TEXTS), expected)
        assert answer_without_heavy_imports(moved, TEXTS[0]) == expected[0].label
    finally:
        hidden.rename(run)


def test_nothing_names_the_machine_of_the_training(run: Path, folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {str(path.relative_to(folder)) for path in files} == {
        "README.md", "checkpoints/best.ckpt", "config.yaml", "model.json", "run.json",
    }  # fmt: skip
    for path in files:
        assert str(run.parents[2]).encode() not in path.read_bytes(), path


def test_the_card_has_what_the_record_has(run: Path, folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    record = json.loads((run / "run.json").read_text())
    n, share = record["data"]["test"]["examples"], record["summary"]["test/accuracy"]
    z = 1.959963984540054  # Wilson's interval by its formula
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    assert f"| accuracy | {share:.2f} [{low:.2f}, {high:.2f}] |" in card
    assert f"| train | {record['data']['train']['examples']} examples |" in card
    assert "| seed of weights and batches | 0 |" in card
    assert f"| torch (version) | {record['versions']['torch']} |" in card
    assert "| labels | high, low |" in card
    repeated = record["task"]["notes"]["test_texts_in_train"]
    assert f"- {repeated} of {n} test texts occur in train, letter for letter." in card


def test_series_and_generated_sequences(tmp_path: Path) -> None:
    series = [np.random.default_rng(0).random((5, 2))]
    dates = ("data=dates", "data.train=32", "data.validation=8", "data.test=8", "model.hidden_size=6")
    for name, options, inputs in (("series", SERIES, series), ("dates", dates, ["3 May 1999", "1/2/2003"])):
        directory = trained_run(tmp_path / "runs", *options)
        out = tmp_path / name
        assert main([f"run={directory}", f"out={out}"]) == 0
        same(gatescope.load(out).predict(inputs), gatescope.load(directory).predict(inputs))


def test_labels_tags_and_several_values(tmp_path: Path) -> None:
    """Of each kind of answer the card has the metric with its interval, and the folder the same answers."""
    words = [("goal", ["sport"], 1.0), ("bank", ["money"], 2.0), ("goal bank", ["money", "sport"], 3.0)] * 20
    rows = [{"text": f"the {t} {i % 2}", "label": k, "a": v, "b": -v} for i, (t, k, v) in enumerate(words)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    tagged = "the O\nParis B-place\nsleeps O\n\n" + "in O\nNew B-place\nYork I-place\n\n"
    (tmp_path / "tagged.conll").write_text(tagged * 30)
    table, small = f"data.path={tmp_path / 'rows.jsonl'}", ("model.hidden_size=6", "optimizer.lr=0.05")
    kinds = {
        "macro_f1": ("data=text_file", table, "data.kind=multilabel"),
        "a/mse": ("data=text_file", table, "data.kind=regression", "data.label=[a,b]"),
        "span_f1": ("data=conll_file", f"data.path={tmp_path / 'tagged.conll'}", "model.bidirectional=true"),
    }
    for metric, options in kinds.items():
        directory = trained_run(tmp_path / "runs", *options, *small)
        out = tmp_path / f"model of {metric.replace('/', ' ')}"
        assert main([f"run={directory}", f"out={out}"]) == 0
        card = (out / "README.md").read_text(encoding="utf-8").replace("\\", "")
        assert re.search(rf"^\| {re.escape(metric)} \| \S+ \[.+, .+\] \|$", card, re.MULTILINE), card
        texts = ["the goal", "the goal bank", "in New York"]
        found, expected = (gatescope.load(one).predict(texts) for one in (out, directory))
        same(found, expected)
        assert [(a.labels, a.tags) for a in found] == [(a.labels, a.tags) for a in expected]


def test_a_folder_that_is_not_empty_stays(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert main([f"run={run}", f"out={folder}"]) == 1
    assert f"export: {folder} is not empty: give a new folder by out=" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_a_run_that_is_not_finished_has_no_results(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "study" / run.name)
    record = json.loads((copy / "run.json").read_text()) | {"status": "interrupted"}
    (copy / "run.json").write_text(json.dumps(record))
    from gatescope.export.folder import export_folder

    with pytest.raises(LoadError, match=r"\(interrupted\) has no results: run it to its end first"):
        export_folder(gatescope.load(copy), tmp_path / "out")
