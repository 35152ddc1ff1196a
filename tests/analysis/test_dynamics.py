"""Findings on dynamics: which runs have an attractor follows from the declared criterion."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gatescope.analysis import dynamics
from gatescope.analysis.comparison import compare
from gatescope.analysis.intervals import clopper_pearson
from gatescope.analysis.report import write_report
from gatescope.analysis.report.findings.dynamics import findings
from gatescope.analysis.runs import RecordSource
from gatescope.analysis.tables import NoData

from .conftest import write_run
from .dynamics_records import STUDY, write_dynamics


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_dynamics(root)
    return root


def test_attractors_are_counted_by_the_criterion(root: Path) -> None:
    found = {
        one.variant: one for one in dynamics.attractors(RecordSource(root, "dynamics").tables().finished())
    }
    counts = {variant: (one.seeds.solved, one.seeds.seeds) for variant, one in found.items()}
    assert counts == {"rnn-none": (0, 5), "gru-none": (5, 5), "lstm-none": (2, 5)}
    assert (found["lstm-none"].seeds.low, found["lstm-none"].seeds.high) == clopper_pearson(2, 5)
    assert found["rnn-none"].lacks == {dynamics.POINTS: 5}
    assert found["lstm-none"].lacks == {dynamics.EXTENT: 3}
    assert found["gru-none"].first_step == 8, "the attractor is there from step 8 on"
    assert found["lstm-none"].first_step == 0
    assert math.isnan(found["rnn-none"].first_step)
    assert found["gru-none"].estimates["slow_time_constant"].mean == pytest.approx(80 * 1.002)
    assert found["gru-none"].estimates["linearised_accuracy"].mean == pytest.approx(0.842)


def test_the_findings_say_where_how_soon_and_whether_gates_are_needed(root: Path) -> None:
    written = findings(compare(RecordSource(root, "dynamics").tables()))
    assert written.title == "An attractor of the task's dimensions appears in most seeds of GRU"
    assert written.figure == "attractor"
    assert "0 of 5 [0.00, 0.52] seeds" not in written.headline
    assert "5 of 5 seeds of GRU" in written.headline
    assert "0.842 (whole: 0.882) in GRU" in written.headline
    text = "\n".join(written.paragraphs)
    assert "| RNN | 0 of 5 [0.00, 0.52] | – | fewer than 10 slow points (5) |" in text
    assert "| GRU | 5 of 5 [0.48, 1.00] | 8.00 | – |" in text
    assert "**Does it need gates?** Not decided: the intervals overlap." in text


def test_intervals_stay_where_a_quantity_can_vary(root: Path) -> None:
    found = dynamics.attractors(RecordSource(root, "dynamics").tables().finished())
    estimate = next(one for one in found if one.variant == "lstm-none").estimates["extent"]
    assert 0 <= estimate.low < estimate.mean < estimate.high
    assert [dynamics.scale_of(name) for name in ("points", "minima_share", "word_correlation")] == [
        "positive",
        "proportion",
        "correlation",
    ]


@pytest.mark.slow
def test_the_report_is_written(root: Path, tmp_path: Path) -> None:
    readme = write_report(RecordSource(root, "dynamics"), tmp_path / "out", paper=False)
    text = readme.read_text(encoding="utf-8")
    assert "Does an attractor appear" in text
    assert {path.stem for path in (tmp_path / "out").rglob("*.png")} >= set(STUDY["figures"])  # type: ignore[call-overload]


def test_a_study_without_these_measurements_is_compared(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "gru-none", seed, study=STUDY, measurements=[])
    comparison = compare(RecordSource(tmp_path, "dynamics").tables())
    assert findings(comparison).paragraphs[0].startswith("No findings on dynamics")
    with pytest.raises(NoData, match="instruments=dynamics"):
        dynamics.attractors(comparison.tables)
