"""The way through the house goes one way: a room imports only from rooms before it (ARCHITECTURE)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SOURCE = ROOT / "src" / "gatescope"
ORDER = ["data", "cells", "models", "training", "baselines", "instruments", "tracking", "analysis", "explain"]
FRONT = {"config", "components", "composition"}
"""Modules at the front door that read plain configs and import no room."""


def imported(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("gatescope.")}


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_what_comes_before_it(room: str) -> None:
    allowed = set(ORDER[: ORDER.index(room) + 1])
    for path in (SOURCE / room).rglob("*.py"):
        extra = (rooms(path) & set(ORDER)) - allowed
        assert not extra, f"{path.relative_to(SOURCE)} imports {sorted(extra)}"


def test_cells_and_models_know_nothing_of_lightning_or_wandb() -> None:
    for room in ("cells", "models"):
        for path in (SOURCE / room).rglob("*.py"):
            heads = {name.split(".")[0] for name in imported(path)}
            assert not heads & {"pytorch_lightning", "wandb", "hydra"}, path


def test_the_front_imports_no_room() -> None:
    for name in FRONT:
        assert not rooms(SOURCE / f"{name}.py") & set(ORDER) - {"tracking"}, name


@pytest.mark.parametrize(
    "module", ["gatescope.analysis.report", "gatescope.cli", "gatescope.tracking.identity"]
)
def test_light_modules_do_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
