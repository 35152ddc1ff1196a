"""Architectures compared over datasets, on the pages of a study and against a calculation by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.figures import NoData, load
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource

from .conftest import LABELS, write_run

STUDY = {
    "findings": "applications",
    "figures": ["critical_difference"],
    "baseline": ["series_logistic"],
}
LEVELS = {"rnn-additive": 0.5, "gru-additive": 0.72, "lstm-additive": 0.7}


def write(root: Path, variant: str, dataset: str, seed: int, accuracy: float, validation: float) -> None:
    folder = write_run(
        root, variant, seed, study=STUDY, accuracy=accuracy, validation=validation, data={"dataset": dataset}
    )
    run = json.loads((folder / "run.json").read_text())
    run["task"]["labels"] = list(LABELS)
    run["tags"]["data"] = dataset
    (folder / "run.json").write_text(json.dumps(run))


def study(root: Path, datasets: int) -> Comparison:
    rng = np.random.default_rng(0)
    for number in range(datasets):
        for variant, level in LEVELS.items():
            for seed in range(5):
                accuracy = level + 0.02 * number + 0.01 * float(rng.normal())
                # On validation the LSTM is best, on test the GRU.
                validation = accuracy + (0.1 if variant.startswith("lstm") else 0)
                write(root, variant, f"set{number}", seed, accuracy, validation)
        write(root, "series_logistic-none", f"set{number}", 0, 0.71 + 0.02 * number, 0.7)
    return compare(RecordSource(root, "toy").tables())


def test_ranks_and_interquartile_means_over_datasets(tmp_path: Path) -> None:
    comparison = study(tmp_path, 6)
    across, results = comparison.across_datasets, comparison.datasets
    means = {name: [one.estimates[name].mean for one in results] for name in ("rnn", "gru", "lstm")}
    ranks = np.mean([stats.rankdata([-m for m in row]) for row in zip(*means.values(), strict=True)], axis=0)
    assert across.ranks.ranks.to_dict() == pytest.approx(dict(zip(means, ranks, strict=True)))
    expected = stats.trim_mean(
        [(value - 1 / 3) / (2 / 3) for one in results for value in one.values["gru"]],
        0.25,
    )
    assert across.interquartile["gru"].mean == pytest.approx(expected)
    assert across.interquartile["gru"].low < expected < across.interquartile["gru"].high

    readme = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", paper=False).read_text()
    assert "Mean rank over 6 datasets: " in readme
    assert "6 datasets are few" in readme
    assert "Interquartile mean of the scores on 6 datasets" in readme
    assert "![Ranks over datasets](critical_difference.png)" in readme
    assert (tmp_path / "out" / "toy" / "numbers" / "critical_difference.csv").is_file()


def test_the_best_of_several_is_chosen_on_validation(tmp_path: Path) -> None:
    comparison = study(tmp_path, 3)
    for one in comparison.datasets:
        assert one.chosen == "lstm"
        contrast = one.against_baseline["lstm"]
        width = contrast.difference.estimate.high - contrast.difference.estimate.low
        values = one.values["lstm"].to_numpy()
        quantile = stats.t.ppf(1 - 0.025 / 3, 4)  # three architectures in the family
        assert width == pytest.approx(2 * quantile * values.std(ddof=1) / np.sqrt(5))


def test_few_datasets_are_not_ranked(tmp_path: Path) -> None:
    comparison = study(tmp_path, 2)
    with pytest.raises(NoData, match="need 3 datasets"):
        load("critical_difference").caption(comparison)
