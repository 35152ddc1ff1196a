"""What a run does not use is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FAST, SMALL

UNUSED = {
    "sklearn",
    "scipy.signal",
    "matplotlib",
    "torchtext",
    "sktime",
    "wandb.sdk.launch",
    "altair",
    "joblib",
}
ONLY_WITH_WANDB = {"wandb", "pandas"}
CODE = """
import sys
from gatescope.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print("imported", *sys.modules)
"""


def imported(root: Path, *words: str, **variables: str) -> set[str]:
    """Return the names of the modules that are loaded after a small run."""
    command = [sys.executable, "-c", CODE, *SMALL, *FAST, f"root={root}", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
    assert "finished: " in done.stdout
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(("tracking", "unused"), [("off", UNUSED | ONLY_WITH_WANDB), ("offline", UNUSED)])
def test_a_run_imports_only_what_it_uses(tracking: str, unused: set[str], tmp_path: Path) -> None:
    assert not imported(tmp_path, f"tracking={tracking}") & unused


@pytest.mark.slow
def test_a_run_works_without_the_work_arounds(tmp_path: Path) -> None:
    assert "scipy.signal" in imported(tmp_path, "tracking=offline", GATESCOPE_WORKAROUNDS="0")
