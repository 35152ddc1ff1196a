"""The committed primer, drawn again by its command; and its verdicts."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from gatescope.commands.primer import FILE, PAGE, main
from gatescope.primer import cells
from gatescope.primer.claims import verdicts
from gatescope.primer.words import CHINESE, ENGLISH

COMMITTED = ROOT / "reports" / "primer"


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((COMMITTED / FILE).read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def html() -> str:
    return (COMMITTED / PAGE).read_text(encoding="utf-8")


def test_the_command_draws_the_committed_page_again_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "primer").mkdir()
    shutil.copy(COMMITTED / FILE, tmp_path / "primer")
    assert main(["source=frozen", f"out={tmp_path}"]) == 0
    for name in (PAGE, "README.md", "summary.json"):
        assert (tmp_path / "primer" / name).read_bytes() == (COMMITTED / name).read_bytes(), name


def test_without_numbers_or_runs_the_message_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["source=frozen", f"out={tmp_path}"]) == 1
    assert "` writes it from the runs" in capsys.readouterr().err
    assert main([f"root={tmp_path}", f"out={tmp_path}"]) == 1
    assert "primer_tweets" in capsys.readouterr().err


def test_the_page_needs_no_network_and_is_small(html: str) -> None:
    assert len(html.encode()) < 5_000_000
    before_library = html[: html.index('<script type="application/json"')]
    assert not re.search(r'(?:src|href)="(?:https?:)?//|@import|url\(', before_library)


def test_both_languages_are_complete(html: str) -> None:
    english, chinese = re.findall(r'<article class="language".*?</article>', html, re.S)
    for tag in ("<h2", "<math", "<table", 'class="widget"', "<figure", 'class="verdict', "<input", "<select"):
        assert english.count(tag) == chinese.count(tag) > 0, tag
    assert ENGLISH.keys() == CHINESE.keys()
    for name, text in ENGLISH.items():
        if isinstance(text, str):
            slots = [sorted(re.findall(r"\{\w+\}", one)) for one in (text, CHINESE[name])]
            assert slots[0] == slots[1], name
        else:
            assert text.keys() == CHINESE[name].keys()


def test_every_control_has_a_label(html: str) -> None:
    for kind in ("input", "select"):
        for tag in re.findall(rf"<{kind}[^>]*>", html[: html.index('<script type="application/json"')]):
            (own,) = re.findall(r' id="([^"]+)"', tag)
            around = html[: html.index(tag)]
            labelled = f'for="{own}"' in html or around.rindex("<label>") > around.rfind("</label>")
            assert labelled, tag


def test_the_equations_of_the_article_are_those_of_torch_with_the_other_z() -> None:
    found = cells.measure()
    assert found["same_states"] < 1e-12
    assert found["other_states"] > 0.1
    assert found["article"] == found["parameters"]["gru"]
    assert found["parameters"]["gru"] * 4 == found["parameters"]["lstm"] * 3


def test_verdicts_follow_from_the_numbers(numbers: dict[str, Any]) -> None:
    changed = copy.deepcopy(numbers)
    for one in changed["fading"].values():
        one["curves"]["gru-none"] = [[1.0] * len(one["lags"])] * len(one["steps"])
        one["accuracy"]["gru-none"]["mean"] = 1.0
        one["curves"]["rnn-none"] = [[1.0] * len(one["lags"])] * len(one["steps"])
    assert verdicts(changed)["solves"] == "holds"
    assert verdicts(changed)["rnn"] == "partly"
    for one in changed["fading"].values():
        one["accuracy"]["gru-none"]["mean"] = 0.125
    assert verdicts(changed)["solves"] == "fails"
    changed["faithfulness"]["tests"]["gru_article-additive"] = {"permuted": "ahead", "weight": "behind"}
    assert verdicts(changed)["attention"] == "partly"
    changed["faithfulness"]["tests"]["gru_article-additive"] = {"permuted": "not enough seeds"}
    assert verdicts(changed)["attention"] == "open"
