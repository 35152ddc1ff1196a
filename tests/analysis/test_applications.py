"""Findings by dataset: measured results, a baseline's, and published ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatescope.analysis import study
from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.figures import load
from gatescope.analysis.report import write_report
from gatescope.analysis.report.findings import applications
from gatescope.analysis.runs import RecordSource

from .conftest import write_run

STUDY = {
    "baseline": ["series_logistic", "majority"],
    "findings": "applications",
    "figures": ["metric_by_variant"],
}
SERIES = {"_target_": "gatescope.data.sktime_series.SktimeSeries", "dataset": "gunpoint"}
MUSIC = {"_target_": "gatescope.data.chorales.Chorales"}


def music(folder: Path, nll: float) -> None:
    """Turn the record of a run into one of next-step prediction."""
    run = json.loads((folder / "run.json").read_text())
    run["task"] = {"kind": "next_step", "metric": "nll", "direction": "min"}
    run["summary"] = {"test/nll": nll, "seconds_per_epoch": 1.0}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 9, "epoch": 1, "test/nll": nll}) + "\n")


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    published = {"published": [{"model": "gru", "value": 0.9, "source": "Somebody 2020"}]}
    sung = {"published": [{"model": "gru", "value": 8.4, "source": "Another 2018"}]}
    for seed in range(3):
        for variant, accuracy in {"rnn-additive": 0.8, "gru-additive": 0.92}.items():
            own = accuracy + seed / 100
            write_run(tmp_path, variant, seed, study=STUDY | published, accuracy=own, data=SERIES)
        for variant, nll in {"rnn-none": 9.0, "gru-none": 8.6}.items():
            music(write_run(tmp_path, variant, seed, study=STUDY | sung, data=MUSIC), nll + seed / 10)
    write_run(tmp_path, "series_logistic-none", 0, study=STUDY, accuracy=0.85, data=SERIES)
    music(write_run(tmp_path, "majority-none", 0, study=STUDY, data=MUSIC), 11.0)
    return compare(RecordSource(tmp_path, "toy").tables())


def test_each_dataset_is_compared_on_its_own_metric(comparison: Comparison) -> None:
    music, series = comparison.datasets
    assert (music.dataset, music.metric, music.higher_is_better, music.best) == (
        "chorales",
        "test/nll",
        False,
        "gru",
    )
    assert (series.dataset, series.metric, series.higher_is_better) == ("gunpoint", "test/accuracy", True)
    assert series.estimates["gru"].mean == pytest.approx(0.93)
    assert music.estimates["rnn"].mean == pytest.approx(9.1)
    assert music.baseline == study.Baseline("majority", 11.0, "computed in this study")
    assert series.baseline is not None
    assert series.baseline.value == 0.85


def test_published_results_are_compared_with_measured_ones(comparison: Comparison) -> None:
    written = applications.findings(comparison)
    text = "\n".join(written.paragraphs)
    assert "| gunpoint | accuracy | 0.810 [0.784, 0.834] | **0.930 [0.901, 0.951]** |" in text
    assert "GRU 0.900 (Somebody 2020)" in text
    assert "gunpoint: GRU 0.930 [0.901, 0.951], published 0.900, reached." in text
    assert "chorales: GRU 8.70" in text
    assert "published 8.40, not reached." in text
    assert "Mean at least as good as the baseline's: chorales (GRU) and gunpoint (GRU)." in text
    assert written.title == (
        "GRU has the best mean of the networks on 2 of 2 datasets; the network that is chosen on "
        "validation is at least as good as the model without recurrence on 2 of 2"
    )
    assert "Of 2 published results of these networks, 1 is reached: gunpoint (GRU)." in written.headline


def test_a_baseline_that_wins_is_said_first(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "gru-none", seed, study=STUDY, accuracy=0.8 + seed / 100, data=SERIES)
    write_run(tmp_path, "series_logistic-none", 0, study=STUDY, accuracy=0.85, data=SERIES)
    written = applications.findings(compare(RecordSource(tmp_path, "toy").tables()))
    assert written.title.startswith("A model without recurrence beats every network on 1 of 1 datasets")
    assert "(Summaries + logistic regression 0.850, GRU 0.810 [" in written.headline


def test_every_dataset_is_in_the_figure_with_its_own_metric(comparison: Comparison) -> None:
    figure = load("metric_by_variant").draw(comparison)
    titles = {axes.get_title(loc="left"): axes.get_xlabel() for axes in figure.axes}
    assert titles == {
        "chorales": "test negative log-likelihood (nats)",
        "gunpoint": "test accuracy",
    }
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]  # the second shares them
    assert names == ["RNN", "GRU"], "cells: each dataset has one variant of each"


@pytest.mark.slow
def test_a_metric_of_another_task_is_not_missing(comparison: Comparison, tmp_path: Path) -> None:
    readme = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", paper=False).read_text()
    assert "# GRU has the best mean of the networks on 2 of 2 datasets;" in readme
    assert "No finite result" not in readme
    assert "| GRU | chorales | nan" not in readme


def test_without_networks_there_is_no_row(tmp_path: Path) -> None:
    write_run(tmp_path, "series_logistic-none", 0, study=STUDY, accuracy=0.85, data=SERIES)
    comparison = compare(RecordSource(tmp_path, "toy").tables())
    assert applications.findings(comparison).title == "No network has a finite result"
