"""Wrong arguments of every command: exit code 2, one message with the key, nothing written."""

from __future__ import annotations

import importlib
import inspect
import random
from pathlib import Path
from typing import Any

import pytest

from gatescope.commands import COMMANDS, main

OVERRIDES = {
    "train": ("seed", "trainer.max_epochs", "data", "model", "model.hidden_size", "attention", "study.name"),
    "data": ("data", "data.limit", "data.batch_size", "model"),
    "status": ("study", "seed", "model", "root"),
}
"""Commands that take overrides of the config, with some of their keys."""
VALUES = (
    "",
    "ü",
    "[",
    "{a:",
    "nan",
    "-1",
    "1e999",
    "9" * 40,
    "true",
    "null",
    "[1,[2]]",
    "a,b",
    "'",
    "\\",
    "\x00",
    "${no.such}",
    "${",
)
NAMES = ("", "ü", "no_such", "run.x", "Run", "--run", "-x", "run ", "+", "~data.no", "a.b.c")


def keys_of(name: str) -> list[str]:
    """Return some keys that a command has."""
    if name in OVERRIDES:
        return list(OVERRIDES[name])
    function = getattr(importlib.import_module(COMMANDS[name][0]), name)
    return list(inspect.signature(function).parameters)


def drawn(name: str, count: int, seed: int) -> list[list[str]]:
    """Return command lines with a key that does not exist, or a word without one."""
    draw, keys, lines = random.Random(f"{name} {seed}"), keys_of(name), []
    for _ in range(count):
        good = [f"{draw.choice(keys)}={draw.choice(VALUES)}" for _ in range(draw.randint(0, 2))]
        bad = draw.choice(
            [f"{draw.choice(NAMES)}={draw.choice(VALUES)}", draw.choice(NAMES) + "x", "=3", "="]
        )
        lines.append(draw.sample([*good, bad], len(good) + 1))
    return lines


def wrong(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is wrong with the answer to a command line; "" if nothing is."""
    with pytest.raises(SystemExit) as ended:
        main([name, *words])
    message = capsys.readouterr().err
    starts = "" if name == "train" else (f"{name}: ", "usage: ")  # argparse tells the usage of a flag
    if ended.value.code != 2:
        return f"exit code {ended.value.code}: {message}"
    if "Traceback" in message or not message.strip() or not message.startswith(starts):
        return message or "no message"
    return "" if not list(Path().iterdir()) else f"wrote {list(Path().iterdir())}"


@pytest.mark.parametrize(
    "words",
    [("experiment=null",), ("data=3",), ("=3",), ("+=",), ("model=[1,[2]]",), ("data=tweets", "data=null")],
)
@pytest.mark.parametrize("name", OVERRIDES)
def test_an_option_that_is_no_name(
    name: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gatescope"])
    assert wrong(name, list(words), capsys) == ""


@pytest.mark.parametrize(("count", "seed"), [(10, 0), pytest.param(200, 1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_arguments(
    name: str,
    count: int,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gatescope"])
    problems = ((words, wrong(name, words, capsys)) for words in drawn(name, count, seed))
    assert [(words, found) for words, found in problems if found] == []
