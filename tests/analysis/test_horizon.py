"""Whether the reach before training predicts what is learnt: against counts of pairs and a second fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.figures import horizon as figure
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource
from gatescope.analysis.tables import NoData

from .conftest import write_run
from .test_figures import check_legible

REACHES = {"rnn": 4.0, "gru": 12.0, "lstm": 9.0, "lstm_chrono": 60.0}
SOLVED = {"rnn": (1, 0), "gru": (3, 2), "lstm": (3, 0), "lstm_chrono": (3, 3)}
"""Number of three seeds that solve lags 10 and 40."""


def write(root: Path, solved: dict[str, tuple[int, int]], lost: str = "") -> RecordSource:
    """Write three seeds of four architectures at two lags; those of `lost` have no reach."""
    study = {"baseline": None, "findings": "vanishing_gradients", "figures": ["horizon"]}
    study |= {"solved": {"metric": "test/accuracy", "at": 0.9}}
    for cell, counts in solved.items():
        for lag, count in zip((10, 40), counts, strict=True):
            for seed in range(3):
                reading = {"step": 0, "kind": "scalar", "value": REACHES[cell] + seed}
                reading |= {"name": "gradient_flow/layer0/loss_free_reach"}
                write_run(
                    root, f"{cell}-none", seed, study=study, accuracy=0.95 if seed < count else 0.2,
                    data={"_target_": "gatescope.data.generated.copy.Copy", "lag": lag},
                    measurements=[] if cell == lost else [reading],
                )  # fmt: skip
    return RecordSource(root, "toy")


def comparison(root: Path, solved: dict[str, tuple[int, int]], lost: str = "") -> Comparison:
    return compare(write(root, solved, lost).tables())


def test_the_area_is_the_share_of_ordered_pairs(tmp_path: Path) -> None:
    found = comparison(tmp_path, SOLVED).horizon
    runs = found.runs
    assert len(runs) == 24
    assert runs.relative_reach.to_numpy() == pytest.approx(np.log(runs.reach / runs.lag))

    def ordered(same_lag: bool) -> float:
        pairs = [
            (a > b) + 0.5 * (a == b)
            for a, lag, good in zip(runs.relative_reach, runs.lag, runs.solved, strict=True)
            for b, other, bad in zip(runs.relative_reach, runs.lag, ~runs.solved, strict=True)
            if good and bad and (lag == other or not same_lag)
        ]
        return float(np.mean(pairs))

    assert found.auc == pytest.approx(ordered(same_lag=False))
    assert found.auc_within == pytest.approx(ordered(same_lag=True))
    assert found.lost == 0


def test_an_architecture_is_predicted_without_its_own_runs(tmp_path: Path) -> None:
    found = comparison(tmp_path, SOLVED).horizon
    gru = next(one for one in found.held_out if one.variant == "gru-none")
    assert (gru.runs, gru.solved) == (6, 5)
    others, own = (found.runs[(found.runs.variant == "gru-none") == is_own] for is_own in (False, True))
    for column, score in (("relative_reach", gru.brier), ("log_lag", gru.brier_of_lag)):
        mean, deviation = others[column].mean(), others[column].std(ddof=0)
        fit = LogisticRegression().fit(((others[column] - mean) / deviation).to_frame(), others.solved)
        predicted = fit.predict_proba(((own[column] - mean) / deviation).to_frame())[:, 1]
        assert score == pytest.approx(np.mean((predicted - own.solved) ** 2))
    assert found.brier == pytest.approx(np.mean([one.brier for one in found.held_out]))


def test_the_report_says_it(tmp_path: Path) -> None:
    source = write(tmp_path, SOLVED)
    text = write_report(source, tmp_path / "out", False).read_text(encoding="utf-8")
    assert "Does the reach before training predict what is learnt?" in text
    assert "| GRU | 5 of 6 |" in text
    assert "A point is an architecture at one lag" in text
    numbers = figure.numbers(compare(source.tables()))
    row = numbers[(numbers.variant == "gru-none") & (numbers.lag == 40)].iloc[0]
    assert (row.reach, row.relative_reach, row.share) == pytest.approx((13, 13 / 40, 2 / 3))
    check_legible(figure.draw(compare(source.tables())), None)


def test_runs_without_a_reach_are_counted(tmp_path: Path) -> None:
    found = comparison(tmp_path, SOLVED, lost="lstm")
    assert found.horizon.lost == 6
    assert "6 runs without a reach are left out" in figure.caption(found)


@pytest.mark.parametrize(
    ("solved", "message"),
    [
        (dict.fromkeys(REACHES, (0, 0)), "all runs, or none, solve the task"),
        ({"rnn": (0, 0), "gru": (3, 3)}, "fewer than three architectures"),
    ],
)
def test_what_cannot_be_predicted(tmp_path: Path, solved: dict[str, tuple[int, int]], message: str) -> None:
    with pytest.raises(NoData, match=message):
        _ = comparison(tmp_path, solved).horizon
