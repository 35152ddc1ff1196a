from __future__ import annotations

import csv
import html
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from omegaconf import OmegaConf

from gatescope.analysis.report import numbers, write_index, write_report
from gatescope.analysis.runs import NoRuns, RecordSource
from gatescope.analysis.statistics import Estimate

from .conftest import write_run, write_vanishing


def report(root: Path, out: Path, study: str = "toy", figures: list[str] | None = None) -> str:
    return write_report(RecordSource(root, study), out, False, figures).read_text(encoding="utf-8")


def text_of(root: Path, out: Path, study: str = "toy") -> str:
    """With one figure: what is written does not depend on what is drawn."""
    return report(root, out, study, ["metric_by_variant"])


def test_the_report_of_a_comparison(toy: Path, tmp_path: Path) -> None:
    text = report(toy, tmp_path / "out")
    folder = tmp_path / "out" / "toy"
    for name in ("learning_curves", "metric_by_variant", "gate_saturation", "gradient_norms"):
        assert f"({name}.png)" in text
        assert (folder / f"{name}.png").exists()
        assert (folder / f"{name}.svg").exists()
    assert "Which of these is better?" in text
    assert "python scripts/report.py study=toy" in text
    assert "python train.py study=toy" in text
    assert "**GRU with additive attention** has the highest mean test accuracy" in text
    assert "linear model" in text
    assert "Undecided: " in text
    assert "Intervals over seeds and test items, simultaneous for 5 comparisons (Bonferroni)" in text
    assert "Warnings" not in text
    assert "torch 2.13.0" in text


def test_the_csv_has_one_row_per_run(toy: Path, tmp_path: Path) -> None:
    write_run(toy, "gru-none", 9, status="failed", reason="the loss became nan at step 7")
    text_of(toy, tmp_path / "out")
    with (tmp_path / "out" / "toy" / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    one = next(row for row in rows if row["variant"] == "gru-none" and row["seed"] == "2")
    assert (one["status"], one["parameters"], one["commit"]) == ("finished", "123456", "a" * 40)
    assert float(one["seconds_per_epoch"]) == 2.2
    failed = next(row for row in rows if row["status"] == "failed")
    assert (failed["test/accuracy"], failed["reason"]) == ("", "the loss became nan at step 7")


def test_failed_runs_and_missing_seeds_are_listed(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "gru-none", seed)
    write_run(tmp_path, "lstm-none", 0)
    write_run(tmp_path, "lstm-none", 1, status="failed", reason="killed | by\nthe kernel")
    write_run(tmp_path, "rnn-none", 0, accuracy=None)
    text = text_of(tmp_path, tmp_path / "out")
    assert "ended as failed: killed \\| by the kernel." in text
    assert "No finite result for LSTM, seeds 1 and 2." in text
    assert "No finite result for RNN, seeds 0, 1 and 2." in text
    assert "| RNN | – |" in text


def test_few_seeds_get_intervals_and_no_verdict(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "gru-none", seed, accuracy=0.9 + 0.001 * seed)
        write_run(tmp_path, "rnn-none", seed, accuracy=0.5 + 0.002 * seed)
    text = text_of(tmp_path, tmp_path / "out")
    row = next(line for line in text.splitlines() if line.startswith("| GRU | +0.39"))
    assert row.endswith("| not enough seeds |")
    assert "Not enough seeds for a verdict against RNN (+0.39" in text
    assert "is ahead of" not in text


def test_equal_variants_are_undecided_or_equivalent_within_a_margin(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, "gru-none", seed, accuracy=0.7 + 0.01 * (seed % 2))
        write_run(tmp_path, "rnn-none", seed, accuracy=0.7 + 0.01 * ((seed + 1) % 2))
    text = text_of(tmp_path, tmp_path / "out")
    assert "Undecided: " in text
    assert "no significant difference" not in text
    for path in tmp_path.glob("toy/*/config.yaml"):
        config = OmegaConf.load(path)
        config.study.margin = 0.05
        OmegaConf.save(config, path)
    text = text_of(tmp_path, tmp_path / "out")
    assert "It is equivalent to " in text
    assert "Differences within ±0.05 do not matter." in text


def test_a_difference_that_is_the_same_in_all_seeds_is_not_tested(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, "gru-none", seed, accuracy=0.9)
        write_run(tmp_path, "rnn-none", seed, accuracy=0.8)
    text = text_of(tmp_path, tmp_path / "out")
    assert "It is significantly ahead of" not in text
    assert "No test against RNN (+0.100): the difference is the same in all seeds." in text
    assert "No test, as the difference is the same in all seeds: RNN (+0.0430) and GRU (+0.143)." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| GRU | ") and line.endswith("seeds |")]
    assert row.split(" | ")[1:] == ["RNN", "+0.100", "1.000", "–", "5", "no spread over seeds |"] or (
        row == "| GRU | +0.100 | 1.000 | – | 5 | no spread over seeds |"
    )
    assert "no winner among the two variants" in text_of_index(tmp_path).lower()


def text_of_index(root: Path) -> str:
    return write_index(root / "out").read_text(encoding="utf-8")


def test_lower_can_be_better(tmp_path: Path) -> None:
    study = {"primary": "test/mse", "direction": "min", "baseline": None}
    for seed in range(5):
        for variant, mse in (("gru-none", 0.01 + 0.001 * seed), ("rnn-none", 0.17 + 0.002 * seed)):
            folder = write_run(tmp_path, variant, seed, study=study)
            row = f'{{"step": 40, "epoch": 4, "time": 9, "test/mse": {mse}}}'
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(row + "\n")
    text = text_of(tmp_path, tmp_path / "out")
    assert "**GRU** has the lowest mean test mean squared error" in text
    assert "It is ahead of RNN (−0.1" in text


def test_the_baseline_may_be_a_run_of_the_study(tmp_path: Path) -> None:
    study = {"baseline": "tfidf_logistic"}
    for seed in range(5):
        write_run(tmp_path, "gru-none", seed, study=study, accuracy=0.80 + 0.001 * seed)
    without = text_of(tmp_path, tmp_path / "out")
    assert "The baseline, TF-IDF + logistic regression, has no finished run" in without
    write_run(tmp_path, "tfidf_logistic-none", 0, study=study, accuracy=0.757, measurements=[])
    text = text_of(tmp_path, tmp_path / "out")
    assert "TF-IDF + logistic regression (computed in this study), reaches 0.757. Above it: GRU" in text
    assert "**GRU** has the highest" in text
    assert "No finite result" not in text, "a baseline needs no seeds"


def test_a_report_warns_of_mixed_commits(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, commit="a" * 40)
    write_run(tmp_path, "gru-none", 1, commit="b" * 40)
    write_run(tmp_path, "gru-none", 2, commit=None)
    text = text_of(tmp_path, tmp_path / "out")
    assert "The runs come from 2 commits (aaaaaaaaaa, bbbbbbbbbb)" in text


def test_nothing_from_the_runs_is_markup_or_a_formula(tmp_path: Path) -> None:
    study = {"question": "Is <img src=x> good? [a](javascript:x) `<b>`", "baseline": None}
    write_run(tmp_path, "=1+1-none", 0, study=study)
    write_run(tmp_path, "gru-none", 0, study=study, status="failed", reason="<script>alert(1)</script>")
    text = text_of(tmp_path, tmp_path / "out")
    assert r"Is &lt;img src=x> good? [a\](javascript:x) `<b>`" in text
    assert "<script" not in text
    table = (tmp_path / "out/toy/tables/variants.csv").read_text(encoding="utf-8")
    assert table.splitlines()[1].startswith("'=1+1-none,")
    assert "'=1+1-none" in (tmp_path / "out/toy/runs.csv").read_text(encoding="utf-8")


def test_one_run_is_enough_for_a_report(tmp_path: Path) -> None:
    write_run(tmp_path, "ガウス b/c|d-none", 0, accuracy=0.7)
    text = text_of(tmp_path, tmp_path / "out")
    assert "| ガウス b/c\\|d | 0.700 | 1 |" in text
    assert "Differences, paired by seed" not in text


def test_a_figure_that_cannot_be_drawn_shows_the_reason(tmp_path: Path) -> None:
    study = {"figures": ["metric_by_variant", "vanishing_curves", "pie_chart"]}
    write_run(tmp_path, "gru-none", 0, study=study)
    text = report(tmp_path, tmp_path / "out")
    assert "Left out: **Vanishing curves**: no finished run has measurements of" in text
    assert "**Pie chart**: pie_chart is no figure of this package" in text


def test_only_failed_runs_raise_an_error(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, status="failed", reason="the loss became nan")
    with pytest.raises(NoRuns, match=r"no run of toy has finished \(1 failed\); the first reason: the loss"):
        text_of(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(toy: Path, tmp_path: Path) -> None:
    report(toy, tmp_path / "a")
    report(toy, tmp_path / "b")
    files = [one for one in sorted((tmp_path / "a" / "toy").rglob("*")) if one.is_file()]
    assert len(files) > 20
    for one in files:
        assert one.read_bytes() == (tmp_path / "b" / one.relative_to(tmp_path / "a")).read_bytes(), one.name


def test_findings_on_gradient_flow_follow_the_numbers(tmp_path: Path) -> None:
    write_vanishing(tmp_path, seeds=5, lags=(50, 100))
    text = text_of(tmp_path, tmp_path / "out", "vanishing")
    title = "# Gradients vanish fastest in RNN and most slowly in LSTM (chrono) at lag 100 steps"
    assert text.startswith(f"{title}; they explode in IRNN\n")
    assert "the gradient decays most slowly in **LSTM (chrono)** (λ" in text
    assert "Not ranked: IRNN (explodes, ×1.012 a step)" in text
    assert "their number counts: it reaches over the lag in IRNN (5 of 5)" in text
    assert "| median ≥ " in text
    assert "fastest in RNN (−0.298" in text
    assert "does not vanish" in text
    section = text[text.index("**Lag 100 steps**") :]
    assert "the intervals do not decide in GRU;" in section
    assert "RNN (15.0 in all 5)" in section
    assert "there is no interval, as all seeds agree, in" in section
    assert "Training slowed the decay in RNN (+0.200" in section
    assert text.index("**Lag 50 steps**") < text.index("**Lag 100 steps**")


@pytest.mark.parametrize("lost", ["dead", "exploded"])
def test_a_variant_with_a_lost_seed_is_not_ranked(tmp_path: Path, lost: str) -> None:
    # The gradient of its four other seeds decays more slowly than any other variant's.
    write_vanishing(tmp_path, seeds=5, lags=(50,), lost={("lstm_chrono", 4): lost, ("irnn", 0): lost})
    text = text_of(tmp_path, tmp_path / "out", "vanishing")
    assert "the gradient decays most slowly in **minLSTM** (λ" in text
    assert f"Not ranked: IRNN (1 of 5 {lost}) and LSTM (chrono) (1 of 5 {lost})." in text
    row = next(line for line in text.splitlines() if line.startswith("| LSTM (chrono) | −0.0"))
    assert row.endswith(f"| 4 (tested weights: 1 of 5 {lost}) |")
    assert "slowed the decay in RNN" in text
    changes = text[text.index("Training slowed") :]
    assert "chrono" not in changes[: changes.index("\n")], "no verdict over the seeds that are left"
    assert "most slowly in minLSTM" in write_index(tmp_path / "out").read_text(encoding="utf-8")


def test_a_variant_without_a_remaining_seed_is_in_the_table(tmp_path: Path) -> None:
    lost = {(cell, seed): "dead" for cell in ("gru", "rnn", "minlstm", "lstm", "irnn") for seed in range(5)}
    lost |= {("lstm_chrono", seed): "exploded" for seed in range(5)}
    write_vanishing(tmp_path, seeds=5, lags=(50,), lost=lost)
    text = text_of(tmp_path, tmp_path / "out", "vanishing")
    assert "the gradient of every variant explodes, or is dead or exploded in some seed" in text
    (row,) = [line for line in text.splitlines() if "| GRU | −0.29" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert all(cell.endswith(" → –") for cell in cells[1:4])
    assert cells[4] == "0 (tested weights: 5 of 5 dead)"


def test_findings_on_gradient_flow_with_few_seeds(tmp_path: Path) -> None:
    write_vanishing(tmp_path, seeds=3, lags=(50,))
    text = text_of(tmp_path, tmp_path / "out", "vanishing")
    assert "3 seeds are **not enough seeds** for a verdict" in text
    assert "Not enough seeds for a verdict" in text
    assert "slowed the decay" not in text


def test_findings_on_gradient_flow_without_measurements(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, study={"findings": "vanishing_gradients"}, measurements=[])
    assert "No findings on gradient flow: no finished run has measurements of gradient_flow" in text_of(
        tmp_path, tmp_path / "o"
    )


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.7457, 0.7402, 0.7512, 5), "0.746 [0.740, 0.751]"),
        (Estimate(0.5, 0.01, 0.99, 5), "0.50 [0.01, 0.99]"),
        (Estimate(0.0031, 0.0008, 0.0543, 5), "0.0031 [0.0008, 0.0543]"),
        (Estimate(-0.0001, -0.005, 0.005, 5), "0.000 [−0.005, 0.005]"),
        (Estimate(1.0, 0.48, 1.0, 5), "1.00 [0.48, 1.00]"),
        (Estimate(0.71234, float("nan"), float("nan"), 1), "0.712"),
        (Estimate(float("nan"), float("nan"), float("nan"), 0), "–"),
        (Estimate(-0.0154, -0.02, -0.011, 5), "−0.0154 [−0.0200, −0.0110]"),
        (Estimate(123.45, 100.0, 146.9, 5), "123 [100, 147]"),
        (Estimate(12.0, 10.0, float("inf"), 5), "12.0 [10.0, ∞]"),
    ],
)
def test_two_digits_of_the_width_of_an_interval_are_shown(estimate: Estimate, text: str) -> None:
    assert numbers.interval(estimate) == text


def test_figures_for_a_paper_come_in_both_widths(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0)
    source = RecordSource(tmp_path, "toy")
    folder = write_report(source, tmp_path / "out", figures=["metric_by_variant"]).parent
    names = {f"metric_by_variant_{size}" for size in ("one_column", "two_columns")}
    expected = {f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")}
    assert {path.name for path in (folder / "paper").iterdir()} == expected
    write_report(source, tmp_path / "out", figures=["metric_by_variant", "vanishing_curves"])
    assert not list(folder.glob("**/vanishing_curves*"))


def test_files_of_an_older_report_that_are_no_longer_drawn_are_removed(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0)
    folder = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", figures=["gate_saturation"]).parent
    assert len(list(folder.rglob("gate_saturation*"))) == 9
    for path in (tmp_path / "toy").glob("*/readings.jsonl"):
        path.unlink()
    write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", figures=["gate_saturation"])
    assert not list(folder.rglob("gate_saturation*"))


def test_the_index_has_one_line_per_report(toy: Path, tmp_path: Path) -> None:
    text_of(toy, tmp_path / "out")
    other = {"name": "b|c d", "question": "Why | so?"}
    write_run(tmp_path / "x", "gru-none", 0, study=other)
    text_of(tmp_path / "x", tmp_path / "out", "b|c d")
    (tmp_path / "out" / "toy" / "tables.zip").touch()
    lines = write_index(tmp_path / "out").read_text(encoding="utf-8").splitlines()
    assert "draws it again, without the records" in lines[2]
    assert lines[4] == "| study | finding | best network | baseline | runs | tables |", "none is published"
    assert lines[-2].startswith(
        "| [b\\|c d](b%7Cc%20d/README.md) | **Linear model has a better mean than the network; GRU reaches a "
        "test accuracy of 0.700.**"
    )
    assert "*Why \\| so?*" in lines[-2]
    assert lines[-2].endswith("| GRU: 0.700 | linear model: 0.757 | 1 of 1 | – |")
    assert lines[-1].startswith("| [toy](toy/README.md) | **")
    assert lines[-1].endswith("| linear model: 0.757 | 30 of 30 | [frozen](toy/tables.zip) |")


def test_an_empty_index_shows_the_first_command(tmp_path: Path) -> None:
    assert "study=first_light" in write_index(tmp_path / "reports").read_text(encoding="utf-8")


@pytest.mark.slow
def test_percentages_are_written_in_one_way(toy: Path, tmp_path: Path) -> None:
    folder = write_report(RecordSource(toy, "toy"), tmp_path, paper=False).parent
    page = re.sub(r"(?s)<(script|style).*?</\1>", "", (folder / "report.html").read_text(encoding="utf-8"))
    for text in (page, (folder / "README.md").read_text(encoding="utf-8")):
        text = re.sub(r"\]\([^)]*\)|[\w-]+=\"[^\"]*\"", "", text)  # addresses and attributes
        assert "95 % interval" in text
        assert not re.findall(r"\d%", text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("ValueError: no number", "ValueError: no number"),
        ("at 10:30", "at 10:30"),
        ("see https://example.org", r"see https\://example.org"),
        (":tada: <b>", r"\:tada: \<b\>"),
    ],
)
def test_text_of_the_data_is_escaped_where_markdown_would_read_it(text: str, escaped: str) -> None:
    assert numbers.literal(text) == escaped
    assert MarkdownIt("commonmark").render(escaped) == f"<p>{html.escape(text)}</p>\n"
