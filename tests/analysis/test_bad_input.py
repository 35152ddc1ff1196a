"""Reports of incomplete or damaged records: a correct page, or one clear message."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gatescope.analysis.report import write_report
from gatescope.analysis.runs import NoRuns, RecordSource

from .conftest import write_run

FIGURES = ("learning_curves", "metric_by_variant", "paired_differences", "pareto")


class Balanced(HTMLParser):
    """Fails where tags do not nest."""

    VOID = frozenset({"meta", "link", "img", "input", "source"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "line"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def page(root: Path, study: str = "toy") -> str:
    """The visible text of the page, its markup checked."""
    source = RecordSource(root, study)
    folder = write_report(source, root / "out", paper=False, figures=FIGURES).parent
    parser = Balanced()
    parser.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(
        NoRuns, match=r"no runs in .*toy, and no other study has runs there: `python train.py study=…`"
    ):
        page(tmp_path)


def test_one_run(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0)
    text = page(tmp_path)
    assert "GRU has the highest mean test accuracy : 0.700 (n = 1)" in text.replace("accuracy:", "accuracy :")
    assert "fewer than two variants have finished runs of the same seed" in text


def test_only_failed_runs(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, status="failed", reason="out of memory")
    with pytest.raises(
        NoRuns, match=r"no run of toy has finished \(1 failed\); the first reason: out of memory"
    ):
        page(tmp_path)


def test_mixed_commits_and_versions(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, commit="a" * 40)
    folder = write_run(tmp_path, "gru-none", 1, commit="b" * 40)
    run = json.loads((folder / "run.json").read_text())
    run["versions"]["torch"] = "2.3.0"
    (folder / "run.json").write_text(json.dumps(run))
    text = page(tmp_path)
    assert "The runs come from 2 commits (aaaaaaaaaa, bbbbbbbbbb)" in text
    assert "The runs differ in versions of torch" in text
    assert "torch 2.13.0 / 2.3.0" in text


@pytest.mark.slow
def test_a_metric_that_some_runs_lack(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "gru-none", seed)
    folder = write_run(tmp_path, "rnn-none", 0)
    run = json.loads((folder / "run.json").read_text())
    del run["summary"]["test/accuracy"]
    (folder / "run.json").write_text(json.dumps(run))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(line for line in lines if "test/" not in line) + "\n")
    text = page(tmp_path)
    assert "No finite result for RNN, seeds 0 and 1." in text
    assert "GRU has the highest mean" in text


def test_constant_metrics(tmp_path: Path) -> None:
    for seed in range(5):
        for variant in ("gru-none", "rnn-none"):
            write_run(tmp_path, variant, seed, accuracy=0.5)
    text = page(tmp_path)
    assert "0.500" in text
    assert "0.500 [" not in text, "without a spread over seeds there is no interval"
    assert "Undecided: " in text


@pytest.mark.parametrize("value", [None, math.nan])
def test_metrics_that_are_not_numbers(tmp_path: Path, value: float | None) -> None:
    for seed in range(2):
        write_run(tmp_path, "gru-none", seed, accuracy=value)
    text = page(tmp_path)
    assert "No run has a finite test accuracy" in text
    assert "No finite result for GRU, seeds 0 and 1." in text
    assert "no finished run has a finite test/accuracy" in text


@pytest.mark.slow
def test_names_of_any_kind(tmp_path: Path) -> None:
    study = {"name": "a b & ガ", "question": "<script>alert(1)</script> or *not*?", "baseline": None}
    for variant in ("a b/c-none", "ガウス-additive", "<b>x</b>$y_z-none", "q\"uote's-none"):
        for seed in range(2):
            write_run(
                tmp_path,
                variant,
                seed,
                study=study,
                accuracy=0.5 + 0.1 * seed,
                suffix=variant[-9:-6].strip("<>/"),
            )
    text = page(tmp_path, "a b & ガ")
    for name in ("a b/c", "ガウス, additive attention", "<b>x</b>$y_z", "q\"uote's"):
        assert name in text
    assert "<script>alert(1)</script> or *not*?" in text
