"""Versions of packages and commit of the source, for the record of a run."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb", "torchtext", "numpy")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries that influence results."""
    installed = {"python": platform.python_version()}
    for package in ("gatescope", *PACKAGES):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


@cache
def git_state() -> dict[str, Any]:
    """Return the commit of the source and whether it has been modified; None outside a git checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
