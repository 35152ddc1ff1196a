"""Every block of code in the documentation parses, and every command in it is one that exists."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import runpy
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Compose

from gatescope.commands import COMMANDS as SUBCOMMANDS
from gatescope.config import check
from gatescope.overrides import with_quoted_paths

from .pages import DOCS, PAGES, Block, blocks, every

LANGUAGES = {"python", "sh", "yaml", "json", "text"}
OWN_PROJECT = "docs/extend/"
"""Pages whose commands run in a folder of the reader's own; test_own_project executes them."""
FLAGS = {"-m", "--cfg", "job", "--resolve"}

COMMANDS = [
    (block, words)
    for block in every("sh")
    if not block.page.startswith(OWN_PROJECT)
    for words in block.commands
]
# tests/test_readme.py has the commands of the README.
TRAIN = [
    (block, words)
    for block, words in {tuple(words): (block, words) for block, words in COMMANDS}.values()
    if words[:2] in (["python", "train.py"], ["gatescope", "train"])
    and block.page != "README.md"  # tests/test_readme.py has those
]
SCRIPTS = [(block, words) for block, words in COMMANDS if words[0] == "python" and "scripts/" in words[1]]


def named(pairs: list[tuple[Block, list[str]]]) -> list[str]:
    return [f"{block}-{' '.join(words[1:])}" for block, words in pairs]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_parse(page: str) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: {block.language}"
        if block.language == "python":
            ast.parse(block.code, str(block))
        elif block.language == "yaml":
            yaml.safe_load(block.code)
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "sh":
            assert block.commands


def test_the_pages_have_commands() -> None:
    assert len(TRAIN) > 30
    assert len(SCRIPTS) > 10


@pytest.mark.parametrize(("block", "words"), TRAIN, ids=named(TRAIN))
def test_a_train_command_composes(config: Compose, block: Block, words: list[str]) -> None:
    if "launcher=ray" in words:
        pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra ray is not installed")
    for end in (0, -1):
        check(config(*one_job(words[2:], end)))


def one_job(words: list[str], end: int) -> list[str]:
    """Return the overrides of a sweep's job: of each key the first value (0) or the last (-1)."""
    pairs = [word.partition("=") for word in words if word not in FLAGS]
    values = [[value] if value.startswith("[") else value.split(",") for _, _, value in pairs]
    return [
        with_quoted_paths(f"{key}={own[end]}") if equals else key
        for (key, equals, _), own in zip(pairs, values, strict=True)
    ]


@cache
def help_of(script: str) -> str:
    """Return what a script prints for `--help`."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr("sys.argv", [script, "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / script), run_name="__main__")
    assert not ended.value.code
    return printed.getvalue()


@pytest.mark.parametrize(("block", "words"), SCRIPTS, ids=named(SCRIPTS))
def test_a_script_knows_the_words_of_its_command(config: Compose, block: Block, words: list[str]) -> None:
    script, given = words[1], words[2:]
    known = help_of(script)
    if script.endswith(("status.py", "describe_data.py")):  # they take the words of train.py
        config(*one_job([word for word in given if word != "--watch"], 0))
        return
    for word in given:
        key, equals, _ = word.partition("=")
        if key.startswith("study."):
            key = "study.KEY"
        if equals or word.startswith("--"):
            assert re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", known), f"{block}: {word}"


def test_other_commands_are_known() -> None:
    known = {"make", "python", "pip", "wandb", "export", "gatescope"}
    assert {words[0] for block in every("sh") for words in block.commands} <= known
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {words[1] for _, words in COMMANDS if words[0] == "make"} <= set(targets)
    assert {words[1] for _, words in COMMANDS if words[0] == "gatescope"} <= set(SUBCOMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_paths_that_a_page_names_exist(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|conf|scripts|docs|benchmarks)/[\w./]+)`", text):
        owns = {block.title for block in blocks(page)}
        assert path in owns or (ROOT / path).exists() or page.startswith(OWN_PROJECT), f"{page}: {path}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_links_exist(page: str) -> None:
    for target in re.findall(r"\]\(([^)#: ]+)(?:#[^)]*)?\)", PAGES[page].read_text(encoding="utf-8")):
        path = PAGES[page].parent / target
        generated = path.is_relative_to(DOCS / "reference") or path.suffix == ".svg"
        assert generated or path.exists() or "reference" in Path(target).parts, f"{page}: {target}"


def test_architecture_names_every_package() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    folders = {path.parent.name for path in (ROOT / "src" / "gatescope").glob("*/__init__.py")}
    assert folders <= rows


@pytest.mark.parametrize("group", ["data", "experiment", "study"])
def test_every_option_is_explained(group: str) -> None:
    page = {"data": "data.md"}.get(group, "studies.md")
    options = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml") if path.stem[0] != "_"}
    text = (DOCS / page).read_text(encoding="utf-8")
    assert options <= set(re.findall(r"`(\w+)`", text))
