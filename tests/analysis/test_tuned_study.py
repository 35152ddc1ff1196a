"""Reports of a tuned study: trials are shown and not compared, tuned keys are no conditions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gatescope.analysis.comparison import compare
from gatescope.analysis.importance import importances
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource
from gatescope.analysis.statistics import expected_best
from gatescope.analysis.tables import NoData
from gatescope.analysis.trials import expected_best_scores

from .conftest import write_run

SPACE = {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}, "model.dropout": None}
SCORES = {"gru-none": {0.01: 0.8, 0.02: 0.9, 0.04: None}, "rnn-none": {0.01: 0.5, 0.02: 0.4, 0.04: 0.6}}
BEST = {"gru-none": 0.02, "rnn-none": 0.04}


def tuned(root: Path, finals: int = 5) -> None:
    """Three trials of each variant, one of which diverged, and the final runs of the best."""

    def config(rate: float, stage: str, number: int) -> dict[str, object]:
        tune = {"stage": stage, "number": number, "space": SPACE, "sampler": "random", "trials": 3}
        return {"optimizer": {"lr": rate}, "tune": tune}

    for variant, scores in SCORES.items():
        for number, (rate, score) in enumerate(scores.items()):
            write_run(
                root, variant, 1000, validation=score, status="finished" if score else "failed",
                accuracy=0.99, config=config(rate, "trial", number), suffix=f"-{rate}",
            )  # fmt: skip
        number = list(scores).index(BEST[variant])
        for seed in range(finals):
            accuracy = 0.7 + seed / 100 + 0.1 * (variant == "gru-none")
            write_run(root, variant, seed, accuracy=accuracy, config=config(BEST[variant], "final", number))
    write_run(root, "tfidf", 0, accuracy=0.6)


def test_trials_are_not_compared_and_tuned_keys_are_no_conditions(tmp_path: Path) -> None:
    tuned(tmp_path)
    tables = RecordSource(tmp_path, "toy").tables()
    assert set(tables.runs.condition) == {""}
    assert set(tables.runs.seed) == set(range(5))
    assert len(tables.trials) == 6
    comparison = compare(tables)
    means = {one.variant: one.metrics["test/accuracy"].mean for one in comparison.summaries}
    assert means["gru-none"] == pytest.approx(0.82)
    assert means["rnn-none"] == pytest.approx(0.72)
    assert comparison.chosen == {("gru-none", ""): "lr=0.02", ("rnn-none", ""): "lr=0.04"}
    assert comparison.selection is not None
    shown = {(one.variant, one.value): (one.validation.mean, one.chosen) for one in comparison.selection.grid}
    assert shown["gru-none", "lr=0.02"] == (0.9, True)
    assert shown["gru-none", "lr=0.01"] == (0.8, False)
    assert shown["gru-none", "lr=0.04"][0] != shown["gru-none", "lr=0.04"][0]  # it diverged: NaN
    assert "random search, 3 trials a variant: 6 runs" in comparison.selection.notes[0]


def test_short_trainings_of_successive_halving_are_no_trials(tmp_path: Path) -> None:
    tune = {"space": SPACE, "sampler": "random", "trials": 9, "halving": 3}
    for number in range(9):
        config = {"optimizer": {"lr": 0.01 * (number + 1)}}
        for stage in ("rung", "trial") if number == 4 else ("rung",):
            own = config | {"tune": tune | {"stage": stage, "number": number}}
            write_run(tmp_path, "gru-none", 1000, validation=0.7, config=own, suffix=f"-{stage}{number}")
    final = {"optimizer": {"lr": 0.05}, "tune": tune | {"stage": "final", "number": 4}}
    for seed in range(5):
        write_run(tmp_path, "gru-none", seed, accuracy=0.7 + seed / 100, config=final)
    tables = RecordSource(tmp_path, "toy").tables()
    assert (len(tables.trials), len(tables.runs)) == (1, 5)
    selection = compare(tables).selection
    assert selection is not None
    assert "with successive halving (one in 3 goes on), 9 trials a variant: 1 runs" in selection.notes[0]
    with pytest.raises(NoData, match="after successive halving"):
        expected_best_scores(tables)


def test_the_expected_best_is_that_of_the_trials(tmp_path: Path) -> None:
    tuned(tmp_path)
    table = expected_best_scores(RecordSource(tmp_path, "toy").tables())
    own = table[table.variant == "rnn-none"].sort_values("trials")
    assert list(own["mean"]) == pytest.approx(list(expected_best([0.5, 0.4, 0.6])))
    assert len(table[table.variant == "gru-none"]) == 2  # of three trials, the one that diverged has no score


@pytest.mark.slow
def test_the_report_shows_what_was_tuned_and_comes_back_from_its_frozen_tables(tmp_path: Path) -> None:
    tuned(tmp_path)
    readme = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", paper=False, freeze=True)
    text = readme.read_text(encoding="utf-8")
    assert "learning rate 0.02" in text
    assert "3 trials a variant" in text
    assert "13 of 13" not in text  # trials are no runs of the comparison
    grid = pd.read_csv(readme.parent / "tables" / "selection.csv")
    assert len(grid) == 6


def test_a_search_that_has_not_ended_is_shown_as_it_is(tmp_path: Path) -> None:
    tuned(tmp_path, finals=0)
    (baseline,) = (tmp_path / "toy").glob("tfidf*/run.json")
    baseline.unlink()
    (baseline.parent / "config.yaml").unlink()
    for path in baseline.parent.iterdir():
        path.unlink()
    tables = RecordSource(tmp_path, "toy").tables()
    assert set(tables.runs.condition) == {"lr=0.01", "lr=0.02", "lr=0.04"}
    assert any("search that has not ended" in note for note in tables.notes)


@pytest.mark.slow
def test_the_importance_is_that_of_the_key_that_the_score_depends_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    space = SPACE | {"model.dropout": [0.0, 0.3, 0.5]}
    for number in range(24):
        rate, dropout = float(10 ** rng.uniform(-3, -1)), float(rng.choice([0.0, 0.3, 0.5]))
        tune = {"stage": "trial", "number": number, "space": space, "sampler": "random", "trials": 24}
        config = {"optimizer": {"lr": rate}, "model": {"dropout": dropout}, "tune": tune}
        score = 0.9 - (math.log10(rate) + 2) ** 2 / 2  # dropout has no effect
        write_run(tmp_path, "gru-none", 1000, validation=score, config=config, suffix=f"-{number}", epochs=1)
    final = config | {"tune": tune | {"stage": "final", "number": 0}}
    for seed in range(2):
        write_run(tmp_path, "gru-none", seed, config=final, epochs=1)
    table = importances(RecordSource(tmp_path, "toy").tables()).set_index("key").importance
    assert table.sum() == pytest.approx(1)
    assert table["optimizer.lr"] > 0.9
    readme = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", paper=False)
    assert (readme.parent / "numbers" / "hyperparameters.csv").exists()
    assert (readme.parent / "expected_best.png").exists()
