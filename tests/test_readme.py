"""What the README tells people to type is what works."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import ROOT, Compose

from gatescope.config import check

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def arguments(command: str) -> list[list[str]]:
    """Overrides of two jobs of a `python train.py` command: the first value of each swept key, the last."""
    words = [word.partition("=") for word in shlex.split(command)[2:] if word != "-m"]
    return [[f"{key}={values.split(',')[end]}" for key, _, values in words] for end in (0, -1)]


def test_there_are_two_set_up_commands() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert made == ["demo", "test"]
    assert {"demo", "test", "check", "bench", "clean"} <= set(targets)


@pytest.mark.parametrize("command", [c for c in COMMANDS if "train.py" in c])
def test_its_train_commands_are_valid(config: Compose, command: str) -> None:
    for overrides in arguments(command):
        check(config(*overrides))


def test_it_lists_every_option_of_every_group() -> None:
    table: dict[str, set[str]] = defaultdict(set)
    for names, options in re.findall(r"^\| ((?:`\w+`[^|]*)+) \| ([^|]+) \|", README, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            table[name] |= set(re.findall(r"`([a-z_0-9]+)`", options))
    for group in (
        "data",
        "model",
        "attention",
        "decoder",
        "front",
        "optimizer",
        "scheduler",
        "trainer",
        "instruments",
        "tracking",
        "launcher",
        "study",
    ):
        options = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml") if path.stem[0] != "_"}
        assert options <= table[group], f"README does not name {sorted(options - table[group])} of {group}"


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert Path(ROOT / target).exists(), target
