"""What a run does not use is not imported, and what it imports is not collected."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from conftest import FAST, SMALL

from gatescope.startup import imports_uncollected

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


class Cycle:
    """An object that only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_objects_of_the_start_are_never_collected_and_later_ones_are() -> None:
    try:
        with imports_uncollected():
            assert not gc.isenabled()
            older = weakref.ref(Cycle())
        assert gc.isenabled()
        newer = weakref.ref(Cycle())
        gc.collect()
        assert newer() is None
        assert older() is not None
    finally:
        gc.unfreeze()
    gc.collect()
    assert older() is None


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["1", "0"])
def test_a_run_freezes_what_it_imported(switch: str, tmp_path: Path) -> None:
    code = (
        "import gc, sys\n"
        "from gatescope.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print('frozen', gc.get_freeze_count(), gc.isenabled())"
    )
    command = [sys.executable, "-c", code, *SMALL, *FAST, f"root={tmp_path}"]
    variables = os.environ | {"GATESCOPE_WORKAROUNDS": switch}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout
    count, enabled = out.split("frozen ")[1].split()
    assert (int(count) > 100_000) == (switch == "1")
    assert enabled == "True"
