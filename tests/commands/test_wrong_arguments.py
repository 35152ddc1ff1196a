"""Wrong arguments of every command: exit code 2, one message with the key, nothing written."""

from __future__ import annotations

import importlib
import inspect
import random
from pathlib import Path

import pytest

from gatescope.commands import COMMANDS

OWN_GRAMMAR = ("train", "data", "status")
"""Commands that take overrides of the config, which have their own tests."""
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
)
NAMES = ("", "ü", "no_such", "run.x", "Run", "--run", "-x", "run ")


def commands() -> list[str]:
    return [name for name in COMMANDS if name not in OWN_GRAMMAR and hasattr(module(name), "execute")]


def module(name: str) -> object:
    return importlib.import_module(COMMANDS[name][0])


def drawn(name: str, count: int, seed: int) -> list[list[str]]:
    """Return command lines with a key that does not exist, or a word without one."""
    draw = random.Random(f"{name} {seed}")
    function = getattr(module(name), name, None)
    keys = list(inspect.signature(function).parameters) if function else ["run"]
    lines = []
    for _ in range(count):
        good = [f"{draw.choice(keys)}={draw.choice(VALUES)}" for _ in range(draw.randint(0, 2))]
        bad = draw.choice(
            [f"{draw.choice(NAMES)}={draw.choice(VALUES)}", draw.choice(NAMES) + "x", "=3", "="]
        )
        lines.append(draw.sample([*good, bad], len(good) + 1))
    return lines


def check(name: str, count: int, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    main = module(name).main  # type: ignore[attr-defined]
    for words in drawn(name, count, seed):
        code = main(words)
        message = capsys.readouterr().err
        assert code in (1, 2), (name, words, message)
        assert message.startswith(f"{name}: "), (name, words, message)
        assert "Traceback" not in message
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("count", "seed"), [(20, 0), pytest.param(200, 1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", commands())
def test_wrong_arguments(
    name: str,
    count: int,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    check(name, count, seed, capsys)
