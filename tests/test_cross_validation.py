"""A cross-validation from a CSV to its report and to predictions, through the commands."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

import gatescope
from gatescope.analysis.comparison import compare
from gatescope.analysis.runs import RecordSource

FOLDS = 5
SWEEP = [
    "-m", "recipe=none", "data=text_file", "data.path=mine.csv", "data.group=speaker", f"data.folds={FOLDS}",
    "data.fold=0,1,2,3,4", "model=rnn,gru", "model.hidden_size=4", "model.embedding_size=4", "study.name=cv",
    "data.min_freq=1", "optimizer.lr=0.02", "trainer.max_epochs=2", "data.batch_size=8", "tracking=off",
    "instruments=off", "root=runs", "trainer.threads=1", "study.reference=rnn-none",
]  # fmt: skip


def command(script: str, *words: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / script, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CSV of ten speakers, and the records of two models on five folds."""
    folder = tmp_path_factory.mktemp("cv")
    with (folder / "mine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "speaker"])
        for i in range(120):
            good = (i // 10 + i) % 2 == 0
            word = "fine" if good != (i % 7 == 0) else "awful"  # one in seven is noise
            writer.writerow([f"a {word} day number {i % 9}", "good" if good else "bad", f"s{i % 10}"])
    command("train.py", *SWEEP, folder=folder)
    return folder


def test_each_example_is_tested_once_and_the_record_says_in_which_fold(folder: Path) -> None:
    tables = RecordSource(folder / "runs", "cv").tables()
    assert sorted(tables.runs.fold) == sorted([*range(FOLDS)] * 2)
    assert set(tables.runs.condition) == {""}
    for run_id, task in tables.tasks.items():
        fold = tables.configs[run_id]["data"]["fold"]
        assert (task["notes"]["folds"], task["notes"]["fold"], task["notes"]["groups"]) == (FOLDS, fold, 10)
    sizes = [len(tables.predictions(run)) for run in tables.runs.run_id[tables.runs.variant == "gru-none"]]
    assert sum(sizes) == 120


def test_variants_are_paired_by_fold_with_the_corrected_test(folder: Path) -> None:
    comparison = compare(RecordSource(folder / "runs", "cv").tables())
    final = comparison.tables.final("test/loss").set_index(["variant", "unit"]).value
    difference = [final["gru-none", fold] - final["rnn-none", fold] for fold in range(FOLDS)]
    # By hand: the variance of the mean is (1/5 + 1/4) s².
    error = stdev(difference) * (1 / FOLDS + 1 / (FOLDS - 1)) ** 0.5
    from gatescope.analysis.contrasts import contrasts_with

    scores = {"": comparison.scores["test/loss", ""]}
    (contrast,) = contrasts_with(scores, "rnn-none", comparison.rules("test/loss"))
    assert contrast.difference.seeds == tuple(range(FOLDS))
    assert contrast.difference.estimate.mean == pytest.approx(mean(difference))
    width = stats.t.ppf(0.975, FOLDS - 1) * error
    assert contrast.difference.estimate.high - contrast.difference.estimate.mean == pytest.approx(width)
    t = mean(difference) / error
    assert contrast.difference.p == pytest.approx(2 * stats.t.sf(abs(t), FOLDS - 1))
    assert comparison.covers == "folds"


@pytest.mark.slow
def test_the_report_says_that_intervals_are_over_folds(folder: Path) -> None:
    command(
        "scripts/report.py",
        "study=cv",
        "root=runs",
        "out=reports",
        "paper=false",
        "figures=[metric_by_variant]",
        folder=folder,
    )
    for name in ("README.md", "report.html"):
        text = (folder / "reports" / "cv" / name).read_text()
        assert "Mean over folds" in text
        assert "paired by fold" in text
        assert "corrected resampled t test" in text
        assert "(1/n + 0.25) · s²" in text
        assert "Nadeau &amp; Bengio 2003" in text or "Nadeau & Bengio 2003" in text
        assert not re.search(r"\bover seeds\b", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    table = pd.read_csv(folder / "reports" / "cv" / "runs.csv")
    assert sorted(table.fold) == sorted([*range(FOLDS)] * 2)
    calibration = pd.read_csv(folder / "reports" / "cv" / "tables" / "calibration.csv")
    assert calibration.examples.tolist() == [120, 120]


def test_a_fold_that_is_missing_is_named(folder: Path) -> None:
    from dataclasses import replace

    from gatescope.analysis.report.context import _missing

    tables = RecordSource(folder / "runs", "cv").tables()
    runs = tables.runs[~((tables.runs.variant == "gru-none") & (tables.runs.fold == 3))]
    assert _missing(replace(tables, runs=runs), "test/accuracy") == ["GRU, fold 3"]


def test_the_model_of_a_fold_predicts(folder: Path) -> None:
    run = next((folder / "runs" / "cv").glob("gru-none-*/run.json")).parent
    assert gatescope.load(run).predict(["a fine day"])[0].label in ("good", "bad")
