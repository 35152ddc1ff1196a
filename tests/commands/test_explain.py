from __future__ import annotations

import re
from pathlib import Path

import pytest
from trained_runs import TEXTS, trained_run

from gatescope.commands.explain import main


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("runs"), *TEXTS, "trainer.max_epochs=1")


@pytest.mark.slow
def test_a_text_by_the_run_s_id(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "not <bad> at all"
    assert main([f"run={directory.name}", f"root={directory.parents[1]}", f"text={text}"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said, "no terminal, no colour"
    shares = [float(share) for share in re.findall(r"(\d+\.\d) ?%", said)]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    out = Path(said.splitlines()[-1])
    assert out == directory / "explain" / "not-bad-at-all.html"
    assert "not &lt;bad&gt; at all" in out.read_text(encoding="utf-8")


def test_an_example_to_a_place_of_one_s_own(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "page.html"
    assert main([f"run={directory}", "index=3", "split=validation", f"out={out}"]) == 0
    assert "(truth: " in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    assert "example validation 3" in text
    title = re.search(r"<h1>(.*)</h1>", text)
    assert title is not None
    tokens = re.findall(r'<span class="word[^>]*title="[^>]*>([^<]*)</span>', text)
    assert title[1].split() == tokens[: len(title[1].split())], "the title is the text of the example"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["text="], 1, "holds no token"),
        (["text=qqzzx xxqqz"], 1, "occurs in training"),
        (["index=1000000"], 1, "the test split has examples 0 to"),
        (["index=-1"], 2, "index: given -1, allowed: "),
        (["text=a", "index=1"], 2, "either text"),
        ([], 2, "either text"),
        (["index=1", "split=tset"], 2, "did you mean test?"),
        (["txt=a"], 2, "did you mean text?"),
    ],
)
def test_bad_input_is_one_line(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    assert main([f"run={directory}", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_no_run_and_an_unknown_run(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text=a"]) == 2
    assert "run: missing, explain needs it: give run=…" in capsys.readouterr().err
    assert main([f"run={directory.name[:-1]}", f"root={directory.parents[1]}", "text=a"]) == 1
    assert f"nearest: {directory.name}" in capsys.readouterr().err
