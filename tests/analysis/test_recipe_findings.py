"""A setting for all datasets: each dataset is left out once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gatescope.analysis.report import write_report
from gatescope.analysis.report.findings.recipe import best_setting, leave_one_out, scores
from gatescope.analysis.runs import RecordSource
from gatescope.analysis.statistics.ranks import mean_ranks
from gatescope.analysis.tables import NoData

from .conftest import write_run

SPACE = {"optimizer.lr": [0.001, 0.003, 0.01]}
VALIDATION = {"a": (0.70, 0.80, 0.75), "b": (0.60, 0.62, 0.66), "c": (0.50, 0.58, 0.55)}
TEST = {"a": (0.71, 0.79, 0.74), "b": (0.59, 0.63, 0.64), "c": (0.49, 0.57, 0.56)}
RATES = (0.001, 0.003, 0.01)


def test_the_left_out_dataset_has_no_vote() -> None:
    settings = [f"lr={rate}" for rate in RATES]
    validation = pd.DataFrame(VALIDATION, index=settings).T
    test = pd.DataFrame(TEST, index=settings).T
    assert list(mean_ranks(validation)[settings]) == pytest.approx([3, 4 / 3, 5 / 3])
    assert best_setting(-validation, False) == best_setting(validation, True) == "lr=0.003"
    by_name = {one.dataset: one for one in leave_one_out(validation, test, True, {"b": 0.6})}
    # Without c, lr=0.003 and lr=0.01 have a mean rank of 1.5; the first of equals is taken.
    assert [by_name[name].chosen for name in "abc"] == ["lr=0.003"] * 3
    assert (by_name["b"].own, by_name["b"].score, by_name["b"].own_score) == ("lr=0.01", 0.63, 0.64)
    assert (by_name["a"].bar, by_name["b"].bar) == (None, 0.6)


def test_a_tuned_value_that_changes_no_id_is_known(tmp_path: Path) -> None:
    for number, scale in enumerate((0.1, 1.0)):
        space = {"model.embedding_std": [0.1, 1.0]}
        tune = {"stage": "trial", "number": number, "space": space, "sampler": "random", "trials": 2}
        config = {"model": {"embedding_std": scale}, "tune": tune}
        write_run(tmp_path, "gru-none", 1000, validation=0.5, config=config, suffix=f"-{scale}")
    write_run(tmp_path, "gru-none", 0, config=config | {"tune": tune | {"stage": "final"}})
    trials = RecordSource(tmp_path, "toy").tables().trials
    assert sorted(trials.setting) == ["embedding_std=0.1", "embedding_std=1.0"]


def searched(root: Path) -> None:
    study = {"findings": "recipe", "figures": ["expected_best"], "baseline": "tfidf"}
    for name in VALIDATION:
        data = {"path": f"{name}.csv"}
        for number, rate in enumerate(RATES):
            tune = {"stage": "trial", "number": number, "space": SPACE, "sampler": "random", "trials": 3}
            config = {"optimizer": {"lr": rate}, "tune": tune}
            write_run(
                root, "gru-additive", 1000, validation=VALIDATION[name][number], accuracy=TEST[name][number],
                config=config, data=data, study=study, suffix=f"-{rate}",
            )  # fmt: skip
        for seed in range(2):
            config = {"optimizer": {"lr": 0.003}, "tune": tune | {"stage": "final"}}
            write_run(root, "gru-additive", seed, accuracy=0.7, config=config, data=data, study=study)
        write_run(root, "tfidf", 0, accuracy=0.6, data=data, study=study)


def test_the_report_of_a_search(tmp_path: Path) -> None:
    searched(tmp_path)
    tables = RecordSource(tmp_path, "toy").tables()
    validation, test = scores(tables, "test/accuracy")
    assert validation.shape == test.shape == (3, 3)
    folder = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out")
    text = (folder.parent if folder.is_file() else folder).joinpath("README.md").read_text(encoding="utf-8")
    assert text.startswith(
        "# A setting chosen on other datasets is 0.00333 below the best of 3 of each dataset's own"
    )
    assert "reaches the model without recurrence on 2 of 3" in text


def test_a_search_on_two_datasets_is_too_small(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0)
    with pytest.raises(NoData, match="fewer than three datasets have trials"):
        scores(RecordSource(tmp_path, "toy").tables(), "test/accuracy")
