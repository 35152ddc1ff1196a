"""No report has an impossible value, an impossible interval, or a verdict against its interval."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from gatescope.analysis.report import write_report
from gatescope.analysis.report.check import problems
from gatescope.analysis.runs import RecordSource

from . import test_datasets, test_interpretability
from .conftest import write_run, write_vanishing

OLD = "to be computed anew"
"""In the first lines of a committed report whose numbers older code computed."""
COMMITTED = sorted(path.parent.parent for path in ROOT.glob("reports/*/tables/variants.csv"))


def report(root: Path, study: str, *figures: str) -> Path:
    source = RecordSource(root, study)
    return write_report(source, root / "out", paper=False, figures=figures or ("metric_by_variant",)).parent


def test_a_report_on_attention_is_possible_and_each_kind_of_error_is_found(tmp_path: Path) -> None:
    test_interpretability.comparison(tmp_path)
    written = report(tmp_path, "toy", "metric_by_variant", "faithfulness")
    assert problems(written) == []
    cases = [
        ("runs.csv", 0, {"test/accuracy": 1.2}, "outside of 0 to 1"),
        ("tables/variants.csv", 0, {"test/accuracy/high": 1.05}, "leaves 0 to 1"),
        ("tables/variants.csv", 1, {"test/accuracy/low": 0.9, "test/accuracy/high": 0.9}, "no width"),
        ("tables/differences.csv", 0, {"verdict": "undecided"}, "contradicts its interval"),
        ("tables/differences.csv", 0, {"verdict": "no difference"}, "no such verdict"),
        ("tables/differences.csv", 0, {"p": 0.5}, "contradicts p"),
        ("numbers/faithfulness.csv", 0, {"low": -1.2}, "leaves -1 to 1"),
        ("numbers/metric_by_variant.csv", 0, {"mean": 0.1}, "does not contain its mean"),
    ]
    for name, row, values, message in cases:
        path = written / name
        before = path.read_bytes()
        table = pd.read_csv(path)
        table.loc[row, list(values)] = list(values.values())
        table.to_csv(path, index=False)
        assert any(message in one for one in problems(written)), (name, values)
        path.write_bytes(before)
    readme = written / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "0.5 [0.6, 0.7]", encoding="utf-8")
    assert problems(written) == ["README.md: 0.5 [0.6, 0.7] does not contain its mean"]


def test_a_comparison(tmp_path: Path) -> None:
    for variant, accuracies in {"gru-none": [1.0, 1.0, 1.0], "rnn-none": [0.0, 0.9, 1.0]}.items():
        for seed, accuracy in enumerate(accuracies):
            write_run(tmp_path, variant, seed, accuracy=accuracy, measurements=[])
    assert problems(report(tmp_path, "toy")) == []


def test_vanishing_gradients(tmp_path: Path) -> None:
    write_vanishing(tmp_path, seeds=2, lags=(20,))
    for path in tmp_path.glob("vanishing/*/run.json"):  # the accuracies are a curve with noise
        run = json.loads(path.read_text())
        run["summary"]["test/accuracy"] = min(run["summary"]["test/accuracy"], 1.0)
        path.write_text(json.dumps(run))
    assert problems(report(tmp_path, "vanishing", "half_life_over_training")) == []


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("9 of 10 [0.55, 1.00]", ""),
        ("1 of 10 [0.55, 1.00]", "1 of 10 [0.55, 1.00] does not contain its share"),
        ("τ of −0.23 [−0.41, −0.04]", ""),
        ("0.51 [0.55, 1.00]", "0.51 [0.55, 1.00] does not contain its mean"),
    ],
)
def test_counts_and_means_lie_within_their_intervals(toy: Path, written: str, problem: str) -> None:
    folder = report(toy, "toy", "metric_by_variant")
    with (folder / "README.md").open("a", encoding="utf-8") as file:
        file.write(f"\n| {written} |\n")
    assert problems(folder) == ([f"README.md: {problem}"] if problem else [])


def test_applications(tmp_path: Path) -> None:
    test_datasets.study(tmp_path, 3)
    assert problems(report(tmp_path, "toy", "critical_difference", "metric_by_variant")) == []


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_committed_reports(folder: Path) -> None:
    found = problems(folder)
    first = "".join((folder / "README.md").read_text(encoding="utf-8").splitlines(keepends=True)[:5])
    if found and OLD in first:
        pytest.xfail(f"{OLD}: {len(found)} problems, such as {found[0]}")
    assert found == []
