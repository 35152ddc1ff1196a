"""Findings on gates and attention: verdicts follow the numbers, and need enough seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.report import write_report
from gatescope.analysis.report.findings.interpretability import findings
from gatescope.analysis.runs import RecordSource

from .conftest import write_run

STUDY = {"name": "toy", "findings": "interpretability", "figures": ["faithfulness"], "baseline": None}


def measurements(values: dict[str, float], seed: int) -> list[dict[str, Any]]:
    at = {"step": 40, "epoch": 4, "kind": "scalar"}
    return [at | {"name": name, "value": value + 0.001 * seed} for name, value in values.items()]


GOOD = {
    "attention/tau/leave_one_out/token": 0.6, "attention/tau/null_spread": 0.2,
    "attention/permutation/total_variation": 0.3, "attention/comprehensiveness/attention": 0.9,
    "attention/comprehensiveness/random": 0.4, "attention/sufficiency/attention": 0.8,
    "attention/sufficiency/random": 0.4, "attention/truth/attention": 0.95, "attention/truth/chance": 0.1,
    "gate_parts/layer0/update/start": 0.7, "gate_parts/layer0/update/negation": 0.6,
}  # fmt: skip
BAD = GOOD | {
    "attention/tau/leave_one_out/token": 0.1, "attention/permutation/total_variation": 0.01,
    "attention/comprehensiveness/attention": 0.3, "attention/sufficiency/attention": 0.3,
}  # fmt: skip
MIXED = GOOD | {"attention/permutation/total_variation": 0.01}


def comparison(root: Path, seeds: int = 5) -> Comparison:
    rng = np.random.default_rng(0)
    given = {"gru-additive": GOOD, "lstm-additive": BAD, "rnn-additive": MIXED, "gru-uniform": {}}
    for variant, values in given.items():
        for seed in range(seeds):
            accuracy = (0.8 if variant == "gru-additive" else 0.7) + 0.002 * rng.normal()
            write_run(
                root, variant, seed, study=STUDY, accuracy=accuracy, measurements=measurements(values, seed)
            )
    return compare(RecordSource(root, "toy").tables())


def test_each_variant_is_judged_by_its_tests(tmp_path: Path) -> None:
    text = findings(comparison(tmp_path)).paragraphs[0]
    assert "By all tests in GRU with additive attention;" in text
    assert "; by some tests only in RNN with additive attention (failed: weight);" in text
    assert "by no test in LSTM with additive attention." in text


def test_the_tables_of_ablations_deciding_steps_and_gates(tmp_path: Path) -> None:
    text = "\n".join(findings(comparison(tmp_path)).paragraphs)
    assert "| GRU, additive attention | GRU, uniform weights | +0.1" in text
    assert "| 5 | ahead |" in text
    assert "| variant | attention | chance |" in text
    assert "| GRU, additive attention | 0.952" in text
    assert "| GRU, additive attention | update gate | 0.702" in text
    assert "(chance 0.402)" in text
    assert "Jain & Wallace 2019" in text
    evaluated = text.split("Ablations")[0]
    assert "| GRU, uniform weights |" not in evaluated, "an ablation is not evaluated"


def test_few_seeds_give_no_verdict(tmp_path: Path) -> None:
    assert "Not enough seeds for a verdict" in findings(comparison(tmp_path, seeds=2)).paragraphs[0]


def test_a_study_without_these_measurements_is_compared(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "gru-none", seed, study=STUDY, measurements=[])
    written = findings(compare(RecordSource(tmp_path, "toy").tables()))
    assert written.paragraphs[0].startswith("No findings on attention")
    assert "highest mean test accuracy" in written.headline


def test_the_title_counts_the_variants_that_pass(tmp_path: Path) -> None:
    written = findings(comparison(tmp_path))
    assert written.title == "Attention passes all tests as an explanation in 1 of 3 variants"
    assert written.figure == "faithfulness"
    assert "0.1020 [" in written.headline
    assert "(LSTM with additive attention) to 0.6020 [" in written.headline


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_report_is_written(tmp_path: Path, seeds: int) -> None:
    comparison(tmp_path, seeds)
    readme = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", paper=False)
    assert "Does attention explain predictions" in readme.read_text(encoding="utf-8")
