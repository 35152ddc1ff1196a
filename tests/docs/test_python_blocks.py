"""Blocks of Python in the documentation run, and so do its cheap commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from conftest import ROOT, Compose

from gatescope.run import run

from .pages import Block, blocks, every

RUN = [(block, words) for block in every("sh") if block.mark == "run" for words in block.commands]
SMALL = ["model.hidden_size=4", "trainer.max_epochs=1", "trainer.threads=1", "tracking=off"]
WITH_A_RUN = ["docs/howto/python.md", "docs/howto/notebook.md", "docs/instruments.md"]
"""Pages whose code reads a finished run: the first trains it."""
ALONE = ["docs/architecture.md", "docs/statistics.md", "docs/howto/watch.md"]
SEEN = [*WITH_A_RUN, *ALONE, "docs/howto/own-data.md"]


def execute(found: list[Block], names: dict[str, Any]) -> None:
    for block in found:
        if block.mark != "illustration" and not block.title:
            exec(compile(block.code, str(block), "exec"), names)


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page "From Python" leaves."""
    names: dict[str, Any] = {"CONF": str(ROOT / "conf")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("python"))
        patch.setenv("RUNS_DIR", str(Path.cwd() / "runs"))
        execute(blocks(WITH_A_RUN[0], "python"), names)
    return names


@pytest.mark.parametrize("page", WITH_A_RUN)
def test_code_that_reads_a_run(
    namespace: dict[str, Any], page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(namespace["result"].directory)
    if page != WITH_A_RUN[0]:
        with mpl.rc_context():
            execute(blocks(page, "python"), dict(namespace))
        assert capsys.readouterr().out


@pytest.mark.parametrize("page", ALONE)
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
def test_code_that_stands_alone(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    execute(blocks(page, "python"), {})
    assert capsys.readouterr().out


def test_all_pages_with_code_are_executed() -> None:
    pages = {
        block.page for block in every("python") if not block.title and not block.page.endswith("README.md")
    }
    assert pages == set(SEEN)


@pytest.mark.parametrize(("block", "words"), RUN, ids=[str(block) for block, _ in RUN])
def test_cheap_commands_train(
    config: Compose, block: Block, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    execute(blocks(block.page, "python"), {})  # writes the files that the command reads
    result = run(config(*words[2:], *SMALL))
    assert any(name.startswith("test/") for name in result.summary)
