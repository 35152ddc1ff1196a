"""One comparison holds what the report states: each number against a direct computation."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from gatescope.analysis import comparison as module
from gatescope.analysis import contrasts, faithfulness
from gatescope.analysis.comparison import compare
from gatescope.analysis.gradient_flow import END
from gatescope.analysis.intervals import metric_interval
from gatescope.analysis.report import build, write_report
from gatescope.analysis.runs import NoRuns, RecordSource, Tables
from gatescope.analysis.statistics import ItemVariance

from .conftest import write_run, write_vanishing


def of_items(tables: Tables, variant: str) -> ItemVariance:
    """The variance over test items of the share of seeds that are right, divided by the number of items."""
    ids = tables.runs.run_id[tables.runs.variant == variant]
    predictions = [table.sort_values("id") for i in ids if (table := tables.predictions(i)) is not None]
    right = np.mean([table.target == table.prediction for table in predictions], axis=0)
    return ItemVariance(float(right.var(ddof=1)) / len(right), len(right))


def test_a_comparison_holds_the_results_of_a_study(toy: Path) -> None:
    tables = RecordSource(toy, "toy").tables()
    comparison = compare(tables)
    assert (comparison.primary, comparison.reference) == ("test/accuracy", "rnn-none")
    assert len(comparison.variants) == len(comparison.summaries) == 6
    wide = tables.final("test/accuracy").pivot(index="seed", columns="variant", values="value")
    for one in comparison.summaries:
        values = wide[one.variant]
        assert one.metrics["test/accuracy"] == metric_interval(
            values, "proportion", of_items(tables, one.variant)
        )
        assert one.metrics["test/accuracy"].mean == pytest.approx(values.mean())
    assert comparison.covers == "seeds and test items"
    assert comparison.leaders[""].variant == wide.mean().idxmax()
    assert {one.reference for one in comparison.baseline_contrasts[""]} == {"linear model"}
    for one in comparison.contrasts:
        assert one.adjusted_p == pytest.approx(min(1.0, 5 * one.difference.p))
        low, high = one.difference.estimate.low, one.difference.estimate.high
        assert (one.verdict in ("ahead", "behind")) == (not low <= 0 <= high)


def test_without_predictions_an_interval_covers_seeds_alone(toy: Path) -> None:
    for path in toy.glob("toy/*/predictions.csv"):
        path.unlink()
    tables = RecordSource(toy, "toy").tables()
    comparison = compare(tables)
    assert comparison.covers == "seeds"
    wide = tables.final("test/accuracy").pivot(index="seed", columns="variant", values="value")
    for one in comparison.contrasts:
        test = stats.ttest_rel(wide[one.variant], wide["rnn-none"])
        assert one.difference.p == pytest.approx(test.pvalue, rel=1e-12)
        interval = test.confidence_interval(1 - 0.05 / 5)
        estimate = one.difference.estimate
        assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))


def test_gradient_flow_is_summarized_with_its_censoring_and_lost_seeds(tmp_path: Path) -> None:
    write_vanishing(tmp_path, seeds=3, lags=(20, 50), lost={("gru", 0): "dead"})
    flow = compare(RecordSource(tmp_path, "vanishing").tables()).gradient_flow
    assert (flow.seeds, flow.lags) == (3, {"lag=20": 20.0, "lag=50": 50.0})
    after = {variant: own[END] for variant, own in flow.reach["lag=50"].items()}
    assert after["gru-none"].lost == "1 of 3 dead"
    assert {variant for variant, one in after.items() if one.censored} >= {"irnn-none", "lstm_chrono-none"}
    assert not after["rnn-none"].censored
    assert "gru-none" not in {one.variant for one in flow.changes["lag=50"]}


@pytest.mark.slow
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


def test_the_pairs_that_a_study_asks_for_are_in_its_report(tmp_path: Path) -> None:
    pairs = [["lstm-none", "gru-none"], ["gru-none", "absent-none"]]
    study = {"contrasts": pairs, "baseline": None}
    for seed in range(5):
        for cell, accuracy in (("gru", 0.7), ("lstm", 0.8), ("rnn", 0.6)):
            own = accuracy + 0.001 * seed * (cell == "lstm")
            write_run(tmp_path, f"{cell}-none", seed, accuracy=own, study=study)
    source = RecordSource(tmp_path, "toy")
    (one,) = compare(source.tables()).asked_contrasts
    assert (one.variant, one.reference, one.verdict) == ("lstm-none", "gru-none", "ahead")
    text = write_report(source, tmp_path / "out", False, ["metric_by_variant"]).read_text(encoding="utf-8")
    assert "Pairs that the study asks for, on test accuracy" in text
    assert "| LSTM | GRU | +0.102" in text
