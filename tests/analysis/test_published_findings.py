"""Published results beside our own: the verdicts follow the intervals."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import Compose

from gatescope.analysis.report import write_report
from gatescope.analysis.report.findings.published import verdict
from gatescope.analysis.runs import RecordSource
from gatescope.analysis.statistics import Estimate
from gatescope.config import ConfigError, check

from .conftest import write_run


@pytest.mark.parametrize(
    ("low", "high", "value", "higher", "expected"),
    [
        (0.8, 0.9, 0.85, True, "met"),
        (0.8, 0.9, 0.7, True, "better"),
        (0.8, 0.9, 0.95, True, "not met"),
        (8.4, 8.6, 8.54, False, "met"),
        (8.4, 8.6, 8.7, False, "better"),
        (8.4, 8.6, 8.3, False, "not met"),
        (math.nan, math.nan, 0.86, True, "not met"),  # a single seed, of 0.85
        (math.nan, math.nan, 0.84, True, "better"),
    ],
)
def test_the_interval_decides(low: float, high: float, value: float, higher: bool, expected: str) -> None:
    mean = 0.85 if math.isnan(low) else (low + high) / 2
    assert verdict(Estimate(mean, low, high, 5), value, higher) == expected


def test_the_report_has_a_row_per_published_result(tmp_path: Path) -> None:
    published = [
        {"model": "gru", "value": 0.9, "source": "A 2018", "note": "trained for longer"},
        {"model": "rnn", "value": 0.5, "source": "B 2019"},
        {"model": "CNN", "value": 0.99, "source": "C 2020"},
    ]
    study = {"findings": "published", "figures": ["metric_by_variant"], "baseline": None}
    for cell, accuracy in (("gru", 0.8), ("rnn", 0.7)):
        for seed in range(5):
            write_run(
                tmp_path, f"{cell}-none", seed, study={**study, "published": published},
                accuracy=accuracy + 0.002 * seed,
            )  # fmt: skip
    report = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", False)
    text = report.read_text(encoding="utf-8")
    assert text.startswith("# One of two published results are met")
    assert "Met: 0; better: 1; not met: 1." in text
    gru, rnn = (
        next(line for line in text.splitlines() if f"({source}) |" in line) for source in ("A 2018", "B 2019")
    )
    assert "| 0.900 (A 2018) | 0.80" in gru
    assert gru.endswith("n = 5 | not met: trained for longer |")
    assert "| 0.500 (B 2019) | 0.70" in rnn
    assert rnn.endswith("n = 5 | better |")
    assert "C 2020" not in text.split("## ")[0]


def test_a_published_result_may_have_a_note(config: Compose) -> None:
    check(config("study.published=[{model: gru, value: 0.9, source: A, note: longer}]"))
    with pytest.raises(ConfigError, match=r"study.published"):
        check(config("study.published=[{model: gru, value: 0.9, source: A, notes: longer}]"))
