"""`study.findings` by dotted path, through the command; a module that raises is replaced by its message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Compose

from gatescope.commands.report import main
from gatescope.config import check

from .conftest import write_run

MODULE = """
from gatescope.analysis.report import Comparison, Findings

def findings(comparison: Comparison) -> Findings:
    leader = comparison.leaders[""]
    text = f"My words: **{leader.variant}** leads {len(leader.contrasts)} other."
    return Findings("My own title", "My headline.", [text])
"""
BROKEN = """
def findings(comparison):
    raise ValueError("no *such* number")
"""


def study(root: Path, findings: str) -> None:
    for seed in range(2):
        for variant, accuracy in (("gru-none", 0.8), ("rnn-none", 0.6)):
            write_run(root / "runs", variant, seed, study={"findings": findings}, accuracy=accuracy)


@pytest.mark.slow
def test_findings_outside_the_package_are_in_readme_page_and_list(tmp_path: Path) -> None:
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "words.py").write_text(MODULE)
    study(tmp_path, "my_lab.words")
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), "study=toy", "figures=metric_by_variant"]
    command.append("trust=true")
    done = subprocess.run([*command, "paper=no"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    reports = tmp_path / "reports"
    readme = (reports / "toy" / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# My own title\n")
    assert "\nMy headline.\n" in readme
    assert "\nMy words: **gru-none** leads 1 other.\n" in readme
    page = (reports / "toy" / "report.html").read_text(encoding="utf-8")
    assert "My words: <strong>gru-none</strong> leads 1 other." in page
    assert "<h1>My own title</h1>" in page
    assert "**My own title.** *Which of these is better?* |" in (reports / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ("my_broken_lab.words", r"my\_broken\_lab.words raised ValueError: no \*such\* number"),
        pytest.param(
            "my_broken_lab.absent",
            "there is no findings module 'my\\_broken\\_lab.absent'",
            marks=pytest.mark.slow,
        ),
        pytest.param("absent", "there is no findings module 'absent'", marks=pytest.mark.slow),
    ],
)
def test_findings_that_raise_are_replaced_by_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, findings: str, message: str
) -> None:
    (tmp_path / "my_broken_lab").mkdir()
    (tmp_path / "my_broken_lab" / "words.py").write_text(BROKEN)
    study(tmp_path, findings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    arguments = ["study=toy", "trust=true", f"root={tmp_path / 'runs'}", f"out={tmp_path / 'o'}", "paper=no"]
    assert main([*arguments, "figures=metric_by_variant"]) == 0
    for name in [name for name in sys.modules if name.startswith("my_broken_lab")]:
        del sys.modules[name]
    readme = (tmp_path / "o" / "toy" / "README.md").read_text(encoding="utf-8")
    assert "The findings could not be written" in readme
    assert message in readme
    assert "| GRU | 0.80" in readme
    assert "could not be written" in (tmp_path / "o" / "toy" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_command_may_name_other_findings_than_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_lab").mkdir()
    (tmp_path / "other_lab" / "words.py").write_text(MODULE)
    (tmp_path / "other_words.py").write_text(MODULE)
    study(tmp_path, "comparison")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    arguments = ["study=toy", "root=runs", "paper=false", "figures=metric_by_variant"]
    for module in ("other_lab.words", "other_words"):
        assert main([*arguments, f"findings={module}"]) == 0
        assert "My words: **gru-none**" in Path("reports/toy/README.md").read_text(encoding="utf-8")


def test_a_config_may_name_findings_by_dotted_path(config: Compose) -> None:
    check(config("study.findings=my_lab.words"))
