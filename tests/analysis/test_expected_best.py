"""The expected best score on validation against the number of settings, on the real page of a study."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from gatescope.analysis.comparison import compare
from gatescope.analysis.figures import NoData, load
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource

from .conftest import write_run

RATES = (0.001, 0.01, 0.1, 1.0)
SELECT = {"over": ["optimizer.lr"], "by": "validation/accuracy"}


def trials(root: Path, select: dict[str, object] | None, seeds: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    scores = 0.6 + 0.1 * rng.random((len(RATES), seeds))
    for row, rate in zip(scores, RATES, strict=True):
        for seed, score in enumerate(row):
            write_run(
                root, "gru-none", seed, study={"select": select, "figures": ["expected_best"]},
                config={"optimizer": {"lr": rate}}, validation=float(score), suffix=f"-{rate}",
            )  # fmt: skip
    return scores


@pytest.mark.parametrize("select", [SELECT, None])
def test_it_is_the_mean_over_all_sets_of_settings(tmp_path: Path, select: dict[str, object] | None) -> None:
    scores = trials(tmp_path, select)
    readme = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", paper=False)
    assert "![Expected best setting](expected_best.png)" in readme.read_text()
    table = load("expected_best").numbers(compare(RecordSource(tmp_path, "toy").tables()))
    for k, row in table.set_index("trials").iterrows():
        best = [
            max(own[i] for i in chosen) for own in scores.T for chosen in combinations(range(4), int(str(k)))
        ]
        assert row["mean"] == pytest.approx(np.mean(best))
        assert row.low < row["mean"] < row.high
        assert row.n == 3


def test_the_direction_is_that_of_the_recorded_monitor(tmp_path: Path) -> None:
    # By its name, "surprise" would be taken for a metric of which more is better.
    scores = trials(tmp_path, {"over": ["optimizer.lr"], "by": "validation/surprise"})
    for path in (tmp_path / "toy").glob("*/run.json"):
        run = json.loads(path.read_text())
        run["summary"]["best/validation/surprise"] = run["summary"]["best/validation/accuracy"]
        run["task"]["monitor"] = {"metric": "surprise", "direction": "min"}
        path.write_text(json.dumps(run))
    comparison = compare(RecordSource(tmp_path, "toy").tables())
    table = load("expected_best").numbers(comparison).set_index("trials")
    assert table["mean"].loc[len(RATES)] == pytest.approx(scores.min(axis=0).mean())
    assert comparison.chosen == {("gru-none", ""): f"lr={RATES[scores.mean(axis=1).argmin()]:g}"}


def test_without_several_settings_it_is_not_drawn(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, validation=0.7)
    with pytest.raises(NoData, match="several settings"):
        load("expected_best").numbers(compare(RecordSource(tmp_path, "toy").tables()))
