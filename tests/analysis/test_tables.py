"""The tables of a report in Markdown, CSV and LaTeX."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.intervals import metric_interval
from gatescope.analysis.report import tables as report_tables
from gatescope.analysis.report.numbers import interval
from gatescope.analysis.runs import RecordSource

from .conftest import write_run


def apart(root: Path, gap: float, seeds: int = 5) -> Comparison:
    """Return a comparison in which gru is ahead of rnn by `gap`; both share the variance between seeds."""
    for seed in range(seeds):
        write_run(root, "gru-none", seed, accuracy=0.7 + gap + 0.004 * (seed % 3) + 0.001 * (seed % 2))
        write_run(root, "rnn-none", seed, accuracy=0.7 + 0.004 * (seed % 3))
    return compare(RecordSource(root, "toy").tables())


def test_the_best_variant_is_marked_where_it_is_significantly_ahead(tmp_path: Path) -> None:
    comparison = apart(tmp_path, 0.1)
    assert comparison.ahead_of_all["test/accuracy", ""] == "gru-none"
    text = report_tables.variants(comparison).text
    marked = text.set_index("variant")["test/accuracy"].str.startswith("**")
    assert marked.to_dict() == {"rnn-none": False, "gru-none": True}


@pytest.mark.parametrize(("gap", "seeds"), [(0.0, 5), (0.1, 4)])
def test_a_difference_that_is_not_significant_is_not_marked(tmp_path: Path, gap: float, seeds: int) -> None:
    assert ("test/accuracy", "") not in apart(tmp_path, gap, seeds).ahead_of_all


def test_nothing_is_marked_where_the_baseline_is_better(tmp_path: Path) -> None:
    for seed in range(5):
        for variant, accuracy in (("gru-none", 0.8), ("rnn-none", 0.7)):
            own = accuracy + 0.001 * seed
            write_run(tmp_path, variant, seed, study={"baseline": "tfidf_logistic"}, accuracy=own)
    write_run(tmp_path, "tfidf_logistic-none", 0, study={"baseline": "tfidf_logistic"}, accuracy=0.9)
    comparison = compare(RecordSource(tmp_path, "toy").tables())
    assert ("test/accuracy", "") not in comparison.ahead_of_all


def test_lower_is_better_for_losses_and_seconds(tmp_path: Path) -> None:
    for seed in range(5):
        for variant, loss in (("gru-none", 0.2), ("rnn-none", 0.5)):
            folder = write_run(tmp_path, variant, seed)
            own = loss + 0.001 * seed * (variant == "rnn-none")
            line = f'{{"step": 40, "epoch": 4, "time": 9, "test/loss": {own}}}'
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(line + "\n")
    best = compare(RecordSource(tmp_path, "toy").tables()).ahead_of_all
    assert best["test/loss", ""] == "gru-none"
    assert ("seconds_per_epoch", "") not in best, "both take as long"


def test_the_three_formats_hold_the_same_numbers(tmp_path: Path) -> None:
    comparison = apart(tmp_path, 0.1)
    paths = report_tables.write(comparison, tmp_path / "tables")
    assert {path.name for path in paths} == {
        f"{name}.{kind}" for name in ("variants", "differences") for kind in ("md", "csv", "tex")
    }
    values = pd.read_csv(tmp_path / "tables" / "variants.csv").set_index("variant")
    own = comparison.tables.final("test/accuracy").query("variant == 'gru-none'").value
    expected = metric_interval(own, "proportion")
    row = values.loc["gru-none"]
    assert (row["test/accuracy/mean"], row["test/accuracy/low"]) == pytest.approx(
        (expected.mean, expected.low)
    )
    text = interval(expected)
    table = (tmp_path / "tables" / "variants.md").read_text()
    assert f"| **{text}** |" in table
    assert table.startswith("| variant | test accuracy |")
    assert "| GRU |" in table, "Markdown and LaTeX have names in words, the CSV has those of the records"
    assert "difference in test accuracy" in (tmp_path / "tables" / "differences.md").read_text()
    tex = (tmp_path / "tables" / "variants.tex").read_text()
    assert rf"\textbf{{{text}}}" in tex
    for rule in ("toprule", "midrule", "bottomrule"):
        assert rf"\{rule}" in tex
    differences = (tmp_path / "tables" / "differences.tex").read_text()
    assert re.search(r"GRU & RNN & \\textbf\{\+0\.1", differences)


def test_names_are_escaped_for_latex(tmp_path: Path) -> None:
    write_run(tmp_path, "a_b & 50%-none", 0)
    comparison = compare(RecordSource(tmp_path, "toy").tables())
    report_tables.write(comparison, tmp_path / "tables")
    tex = (tmp_path / "tables" / "variants.tex").read_text()
    assert r"a\_b \& 50\%" in tex
    assert not (tmp_path / "tables" / "differences.tex").exists(), "one variant differs from none"
    assert "−" not in tex
