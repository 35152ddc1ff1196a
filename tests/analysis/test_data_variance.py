"""`study.vary_data`: data that are drawn anew with each seed, from the config to the report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import Compose

from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource
from gatescope.config import ConfigError, check
from gatescope.run import run
from gatescope.tracking.identity import run_id

VARY = ("study.name=varied", "study.vary_data=true")


def study(config: Compose, root: Path, data: str, *more: str) -> Comparison:
    for model in ("majority", "series_logistic"):
        for seed in (0, 1):
            run(config(f"data={data}", f"model={model}", f"seed={seed}", "tracking=off", *VARY, *more))
    return compare(RecordSource(root, "varied").tables())


def test_generated_data_are_drawn_anew_and_paired_by_seed(config: Compose, tmp_path: Path) -> None:
    small = ("data.steps=8", "data.train=64", "data.validation=32", "data.test=32")
    for model in ("series_ridge", "majority"):
        for seed in (0, 1):
            run(config("data=adding", *small, f"model={model}", f"seed={seed}", "tracking=off", *VARY))
    comparison = compare(RecordSource(tmp_path, "varied").tables())
    assert comparison.conditions == ("",), "the seed of the data is no condition"
    assert comparison.covers == "seeds and data"
    assert not comparison.items, "seeds with test sets of their own share no item"
    assert comparison.contrasts[0].difference.seeds == (0, 1)
    targets = [tables.target.to_numpy() for tables in predictions(comparison, "majority")]
    assert (targets[0] != targets[1]).any()
    readme = write_report(RecordSource(tmp_path, "varied"), tmp_path / "out", paper=False).read_text()
    assert "Each seed has its own data: the train and the validation and the test split differ." in readme


def test_a_fixed_test_split_is_shared(config: Compose, tmp_path: Path) -> None:
    comparison = study(config, tmp_path, "gunpoint")
    assert comparison.covers == "seeds, training data and test items"
    assert {variant for _, variant, _ in comparison.items} == {"majority", "series_logistic"}
    readme = write_report(RecordSource(tmp_path, "varied"), tmp_path / "out", paper=False).read_text()
    assert "the train and the validation split differ; the test split is fixed by the dataset." in readme


def test_a_baseline_has_the_data_of_each_seed(config: Compose, tmp_path: Path) -> None:
    comparison = study(config, tmp_path, "gunpoint", "study.baseline=majority")
    (contrast,) = comparison.baseline_contrasts[""]
    runs = comparison.tables.runs.set_index(["variant", "seed"])["test/accuracy"]
    differences = runs["series_logistic"] - runs["majority"]
    assert list(contrast.difference.values) == pytest.approx(list(differences))


def test_ids_of_other_studies_stay_and_fixed_data_are_refused(config: Compose) -> None:
    ids = {
        vary: [run_id(config("data=tweets", f"seed={seed}", f"study.vary_data={vary}")) for seed in (0, 3)]
        for vary in ("true", "false")
    }
    assert run_id(config("data=tweets", "seed=3", "data.seed=0")) == ids["false"][1]
    assert ids["true"][0] == ids["false"][0]
    assert ids["true"][1] == run_id(config("data=tweets", "seed=3", "data.seed=3")) != ids["false"][1]
    for given in ("data.seed=7", "data=speech_commands"):
        with pytest.raises(
            ConfigError, match=r"study\.vary_data: data\.seed is \d and not that of the run, 3"
        ):
            check(config("data=tweets", "seed=3", "study.vary_data=true", given))


def predictions(comparison: Comparison, variant: str) -> list[pd.DataFrame]:
    runs = comparison.tables.runs
    tables = [comparison.tables.predictions(one) for one in runs.run_id[runs.variant == variant]]
    return [table for table in tables if table is not None]
