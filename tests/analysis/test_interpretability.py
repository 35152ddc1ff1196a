"""Findings on gates and attention: verdicts follow the numbers, and need enough seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.report import write_report
from gatescope.analysis.report.findings.interpretability import findings
from gatescope.analysis.runs import RecordSource

from .conftest import write_run

STUDY = {"name": "toy", "findings": "interpretability", "figures": ["faithfulness"], "baseline": None}


TAU = "attention/tau/leave_one_out/token"
EXAMPLES = 41
ERASED = ("attention/comprehensiveness/attention", "attention/sufficiency/attention")


def measurements(values: dict[str, float], seed: int) -> list[dict[str, Any]]:
    """Return measurements that depend on the seed, and τ of each example around its mean."""
    at = {"step": 40, "epoch": 4}
    rows = [
        at | {"name": name, "kind": "scalar", "value": value + 0.001 * seed * (2 if name in ERASED else 1)}
        for name, value in values.items()
    ]
    if mean := values.get(TAU):
        own = (mean + 0.001 * seed + np.linspace(-0.4, 0.4, EXAMPLES)).tolist()
        columns = {"id": list(range(EXAMPLES)), "tau": own}
        rows.append(at | {"name": f"{TAU}/examples", "kind": "points", "columns": columns})
    return rows


GOOD = {
    TAU: 0.6, f"{TAU}/permuted_spread": 0.02,
    "attention/permutation/total_variation": 0.3, "attention/comprehensiveness/attention": 0.9,
    "attention/comprehensiveness/random": 0.4, "attention/sufficiency/attention": 0.8,
    "attention/sufficiency/random": 0.4, "attention/truth/attention": 0.95, "attention/truth/chance": 0.1,
    "gate_parts/layer0/update/start": 0.7, "gate_parts/layer0/update/negation": 0.6,
}  # fmt: skip
BAD = GOOD | {
    TAU: 0.1, "attention/permutation/total_variation": 0.01,
    "attention/comprehensiveness/attention": 0.3, "attention/sufficiency/attention": 0.3,
}  # fmt: skip
MIXED = GOOD | {"attention/permutation/total_variation": 0.01}


def comparison(root: Path, seeds: int = 5) -> Comparison:
    rng = np.random.default_rng(0)
    given = {"gru-additive": GOOD, "lstm-additive": BAD, "rnn-additive": MIXED, "gru-uniform": {}}
    given["lstm-frozen_random"] = {TAU: 0.1}
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


def test_agreement_is_tested_against_permuted_and_frozen_weights(tmp_path: Path) -> None:
    found = {(one.variant, one.test): one for one in comparison(tmp_path).attention_tests}
    assert len(found) == 3 * 4 + 1, "frozen random weights exist for the LSTM alone, and are not tested"
    one = found["gru-additive", "permuted"]
    tau = 0.602 + np.linspace(-0.4, 0.4, EXAMPLES)
    variance = np.var([0, 0.001, 0.002, 0.003, 0.004], ddof=1) / 5 + tau.var(ddof=1) / EXAMPLES
    estimate = one.contrast.difference.estimate
    assert estimate.mean == pytest.approx(0.602)
    # The degrees of freedom are about those of the examples, which vary most; 13 tests are one family.
    width = stats.t.ppf(1 - 0.025 / 13, EXAMPLES - 1) * np.sqrt(variance)
    assert estimate.high - 0.602 == pytest.approx(width, rel=0.01)
    assert one.passed
    # Frozen random attention reaches the same 0.1.
    frozen = found["lstm-additive", "frozen"]
    assert frozen.contrast.difference.estimate.mean == pytest.approx(0)
    assert not frozen.passed


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
    assert "| GRU, additive attention | τ: leave-one-out | its permuted weights | +0.60 [" in evaluated
    assert "| 5 | explains more |" in evaluated


def test_an_adversarial_attention_is_compared_with_what_it_imitates(tmp_path: Path) -> None:
    for cell, differences in (("gru", (0.04, 0.5)), ("lstm", (0.3, 0.6))):
        for seed in range(5):
            write_run(tmp_path, f"{cell}-additive", seed, study=STUDY, measurements=measurements(GOOD, seed))
            folder = write_run(tmp_path, f"{cell}-adversarial", seed, study=STUDY)
            record = json.loads((folder / "run.json").read_text())
            names = ("test/imitation_tvd", "test/attention_jsd")
            noisy = (value + 0.001 * (seed - 2) for value in differences)
            record["summary"] |= dict(zip(names, noisy, strict=True))
            (folder / "run.json").write_text(json.dumps(record))
    found = "\n".join(findings(compare(RecordSource(tmp_path, "toy").tables())).paragraphs)
    assert "Do other weights go with the same predictions?" in found
    row = next(
        line for line in found.splitlines() if line.startswith("| GRU, adversarial") and "0.72" in line
    )
    assert "0.040" in row
    assert "LSTM, adversarial attention | 0.30" in found
    assert not [line for line in found.splitlines() if "adversarial" in line and "explains" in line]


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
    assert "0.10 [" in written.headline
    assert "(LSTM with additive attention) to 0.60 [" in written.headline


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 5])
def test_the_report_is_written(tmp_path: Path, seeds: int) -> None:
    comparison(tmp_path, seeds)
    readme = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", paper=False)
    assert "Does attention explain predictions" in readme.read_text(encoding="utf-8")
