"""The page of a report: self-contained, small, and linked to its records."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from gatescope.analysis import words
from gatescope.analysis.comparison import compare
from gatescope.analysis.figures import load
from gatescope.analysis.report import page, write_report
from gatescope.analysis.report.interactive import MAX_POINTS, charts
from gatescope.analysis.runs import RecordSource

from .conftest import RATES, write_predictions, write_run, write_vanishing

LIMIT = 5_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    for seed in range(5):
        for variant, accuracy in (("gru-none", 0.74), ("lstm-additive", 0.73), ("rnn-none", 0.68)):
            folder = write_run(root, variant, seed, accuracy=accuracy + 0.003 * ((seed * 7) % 5))
            write_predictions(folder, seed)
    return write_report(RecordSource(root, "toy"), root / "out").parent


def test_nothing_is_loaded_from_anywhere(folder: Path) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    markup = re.sub(r"(?s)<script.*?</script>", "", html)
    assert not re.search(r"""(src|srcset)=["'](?!data:)""", markup)
    assert '<link rel="stylesheet"' not in markup
    assert "@import" not in markup
    assert "url(" not in markup
    assert not re.search(r"<script[^>]+src", html)
    assert len(html.encode()) < LIMIT


def test_every_link_leads_somewhere(folder: Path) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    markup = re.sub(r"(?s)<script.*?</script>", "", html)
    links = re.findall(r'<a href="([^"]+)"', markup)
    assert len(links) > 30
    for link in links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in markup
        else:
            assert (folder / link).exists(), link
    assert not any("run.json" in link for link in links), "records are not part of a report"
    assert f"Records: <code>{folder.parents[1] / 'toy'}</code>" in markup


def test_a_run_leads_to_its_page_on_wandb_and_nowhere_else(tmp_path: Path) -> None:
    urls = ("https://wandb.ai/me/gatescope/runs/x", "javascript:alert(1)", "file:///etc/passwd")
    for seed, url in enumerate(urls):
        record = write_run(tmp_path, "gru-none", seed) / "run.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"wandb": {"id": "x", "url": url}}))
    source = RecordSource(tmp_path, "toy")
    path = write_report(source, tmp_path / "o", paper=False, figures=["metric_by_variant"]).parent
    text = (path / "report.html").read_text(encoding="utf-8")
    assert f'href="{urls[0]}"' in text
    assert urls[1] not in text
    assert urls[2] not in text


def test_verdict_settings_and_commands_are_there(folder: Path) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "<strong>GRU</strong> has the highest mean test accuracy" in html
    assert "trainer.gradient_clip_val" in html
    assert "python train.py study=toy" in html
    assert "python scripts/report.py study=toy" in html
    assert "a" * 40 in html
    assert "torch 2.13.0" in html


def test_charts_hold_the_numbers_of_the_figure(folder: Path) -> None:
    comparison = compare(RecordSource(folder.parents[1], "toy").tables())
    module = load("learning_curves")
    numbers = module.numbers(comparison)
    ((title, spec),) = charts(numbers, module.CURVES)  # type: ignore[attr-defined]
    assert title == "validation accuracy"
    got = {(row["variant"], row["epoch"]): row["mean"] for row in spec["data"]["values"]}
    for row in numbers.to_dict("records"):
        assert got[row["variant"], row["epoch"]] == pytest.approx(row["mean"], rel=1e-4)


def test_charts_stay_small_and_plain_json(tmp_path: Path) -> None:
    write_vanishing(tmp_path, seeds=2, lags=(200,))
    comparison = compare(RecordSource(tmp_path, "vanishing").tables())
    module = load("vanishing_curves")
    for _, spec in charts(module.numbers(comparison), module.CURVES):  # type: ignore[attr-defined]
        json.dumps(spec, allow_nan=False)
        points = Counter(row["variant"] for row in spec["data"]["values"])
        assert len(points) == len(RATES)
        assert set(points.values()) == {MAX_POINTS}


def test_long_tables_are_thinned(tmp_path: Path) -> None:
    write_vanishing(tmp_path, seeds=2, lags=(100,))
    numbers = load("vanishing_curves").numbers(compare(RecordSource(tmp_path, "vanishing").tables()))
    thinned = page.thinned(numbers)
    assert thinned.total == len(numbers) > page.MAX_ROWS >= len(thinned.rows)
    assert {row[1] for row in thinned.rows} == set(map(words.variant, numbers.variant))


def test_settings_that_vary_between_runs_are_marked() -> None:
    configs = {
        "a": {"seed": 0, "data": {"lag": 5}, "study": {"name": "x"}},
        "b": {"seed": 1, "data": {"lag": 5}},
    }
    assert page.settings(configs) == [("data.lag", "5"), ("seed", "varies: 0, 1")]


def test_scripts_cannot_be_closed_by_data() -> None:
    assert page.script_json({"a": "</script><!--"}) == r'{"a": "\u003c/script\u003e\u003c!--"}'
    assert "</script" not in page.library()
