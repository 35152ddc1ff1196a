"""One comparison holds what the report states: each number against a direct computation."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats

from gatescope.analysis import comparison as module
from gatescope.analysis import contrasts, faithfulness
from gatescope.analysis.comparison import compare
from gatescope.analysis.gradient_flow import END
from gatescope.analysis.report import build, write_report
from gatescope.analysis.runs import NoRuns, RecordSource
from gatescope.analysis.statistics import holm, mean_interval

from .conftest import write_run, write_vanishing


def test_a_comparison_holds_the_results_of_a_study(toy: Path) -> None:
    tables = RecordSource(toy, "toy").tables()
    comparison = compare(tables)
    assert (comparison.primary, comparison.reference) == ("test/accuracy", "rnn-none")
    assert len(comparison.variants) == len(comparison.summaries) == 6
    wide = tables.final("test/accuracy").pivot(index="seed", columns="variant", values="value")
    for one in comparison.summaries:
        assert one.metrics["test/accuracy"] == mean_interval(wide[one.variant])
    p = [stats.ttest_rel(wide[one.variant], wide["rnn-none"]).pvalue for one in comparison.contrasts]
    assert [one.difference.p for one in comparison.contrasts] == pytest.approx(p, rel=1e-12)
    assert [one.adjusted_p for one in comparison.contrasts] == pytest.approx(list(holm(p)))
    assert comparison.leaders[""].variant == wide.mean().idxmax()
    assert {one.reference for one in comparison.baseline_contrasts[""]} == {"linear model"}


def test_gradient_flow_is_summarized_with_its_censoring_and_lost_seeds(tmp_path: Path) -> None:
    write_vanishing(tmp_path, seeds=3, lags=(20, 50), lost={("gru", 0): "dead"})
    flow = compare(RecordSource(tmp_path, "vanishing").tables()).gradient_flow
    assert (flow.seeds, flow.lags) == (3, {"lag=20": 20.0, "lag=50": 50.0})
    after = {variant: own[END] for variant, own in flow.reach["lag=50"].items()}
    assert after["gru-none"].lost == "1 of 3 dead"
    assert {variant for variant, one in after.items() if one.censored} >= {"irnn-none", "lstm_chrono-none"}
    assert not after["rnn-none"].censored
    assert "gru-none" not in {one.variant for one in flow.changes["lag=50"]}


def test_a_report_compares_once(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def count(owner: ModuleType, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: object) -> object:
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(owner, name, counted)

    count(module, "_compare")
    count(contrasts, "contrasts_with")
    count(faithfulness, "evaluations")
    derived = ("leaders", "best", "rows", "against_reference", "against_baseline")
    assert not [name for name in derived if hasattr(build, name)]
    write_report(RecordSource(toy, "toy"), tmp_path / "out", False, ["paired_differences", "faithfulness"])
    assert sorted(calls) == ["_compare", "contrasts_with", "evaluations"], "once each"


def test_nothing_finished_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, status="failed")
    write_run(tmp_path, "gru-none", 1, status="running")
    with pytest.raises(NoRuns, match="no run of toy has finished \\(1 failed, 1 running\\)"):
        compare(RecordSource(tmp_path, "toy").tables())


def test_a_study_of_baselines_alone_has_no_variants(tmp_path: Path) -> None:
    write_run(tmp_path, "majority-none", 0, study={"baseline": "majority"})
    source = RecordSource(tmp_path, "toy")
    comparison = compare(source.tables())
    assert (comparison.variants, comparison.contrasts, comparison.reference) == ((), (), "")
    readme = write_report(source, tmp_path / "out", False, ["metric_by_variant"])
    assert "No run has a finite test accuracy." in readme.read_text(encoding="utf-8")
