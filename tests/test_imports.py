"""Packages import only from packages before them in the data flow: see docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SOURCE = ROOT / "src" / "gatescope"
ORDER = [
    "data",
    "cells",
    "models",
    "training",
    "baselines",
    "instruments",
    "tracking",
    "analysis",
    "explain",
    "primer",
]
FRONT = {"config", "components", "composition"}
"""Modules that read plain configs and import no package."""


def imported(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("gatescope.")}


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_those_before_it(package: str) -> None:
    allowed = set(ORDER[: ORDER.index(package) + 1])
    for path in (SOURCE / package).rglob("*.py"):
        extra = (packages(path) & set(ORDER)) - allowed
        assert not extra, f"{path.relative_to(SOURCE)} imports {sorted(extra)}"


def test_cells_and_models_know_nothing_of_lightning_or_wandb() -> None:
    for package in ("cells", "models"):
        for path in (SOURCE / package).rglob("*.py"):
            heads = {name.split(".")[0] for name in imported(path)}
            assert not heads & {"pytorch_lightning", "wandb", "hydra"}, path


def test_modules_of_the_config_import_no_package() -> None:
    for name in FRONT:
        assert not packages(SOURCE / f"{name}.py") & set(ORDER) - {"tracking"}, name


@pytest.mark.parametrize(
    "module", ["gatescope.analysis.report", "gatescope.cli", "gatescope.tracking.identity"]
)
def test_light_modules_do_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
