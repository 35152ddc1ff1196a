"""The wheel: what it holds, and that it trains, reports and loads where no checkout is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, ROOT, SMALL

from gatescope import __version__

SITE = Path(np.__file__).parents[1]
"""The environment of the tests, whose packages the new environment borrows."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_all_files_that_the_package_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        information = f"gatescope-{__version__}.dist-info"
        entry_points = archive.read(f"{information}/entry_points.txt").decode()
        metadata = archive.read(f"{information}/METADATA").decode()
    files = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if path.is_file()}
    expected = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    configs = {f"gatescope/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert expected | configs <= names
    assert {"gatescope/py.typed", "hydra_plugins/gatescope_sweeper/sweeper.py"} <= expected
    assert "hydra_plugins/__init__.py" not in names  # plugins of other packages are found beside ours
    assert f"{information}/licenses/LICENSE" in names
    assert "gatescope = gatescope.commands:main" in entry_points
    assert "License-Expression: MIT" in metadata


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment in which the wheel is installed under the constraints."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in SITE.iterdir():
        if not path.name.startswith(("gatescope", "_gatescope", "__editable__")) and path.suffix != ".pth":
            # Plugins one by one: pip would write ours through a link to the folder that all share.
            for borrowed in path.iterdir() if path.name == "hydra_plugins" else [path]:
                link = packages / borrowed.relative_to(SITE)
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(borrowed)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"]
    done = subprocess.run(
        [*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_pip_takes_the_wheel_by_the_hash_that_the_script_writes_and_no_other_file(
    wheel: Path, tmp_path: Path
) -> None:
    """The same that `make hashes` does for all pinned versions, from a folder in place of an index."""
    pins, hashes, files = tmp_path / "pins.txt", tmp_path / "hashes.txt", tmp_path / "files"
    pins.write_text(f"gatescope=={__version__}\n")
    files.mkdir()
    shutil.copy(wheel, files)
    local = ["--no-index", "--find-links", str(files)]
    script = [sys.executable, str(ROOT / "scripts" / "hashes.py")]
    subprocess.run([*script, str(pins), str(hashes), *local], check=True, capture_output=True)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    written = hashes.read_text().splitlines()[1:]
    assert written == [f"gatescope=={__version__} \\", f"    --hash=sha256:{digest}"]

    pip = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps", "-r", str(hashes), *local]
    into = ["--target", str(tmp_path / "installed")]
    subprocess.run([*pip, *into], check=True, capture_output=True)
    assert (tmp_path / "installed" / "gatescope" / "run.py").is_file()
    with (files / wheel.name).open("ab") as file:
        file.write(b"changed")
    done = subprocess.run([*pip, *into], capture_output=True, text=True)
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    pins.write_text("no-such-package==1\n")
    done = subprocess.run([*script, str(pins), str(hashes), *local], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"hashes: pip failed, and {hashes} was not changed" in done.stderr


@pytest.mark.slow
def test_an_installed_wheel_trains_reports_and_loads(environment: Path, tmp_path: Path) -> None:
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RUNS_DIR")}

    def call(*words: str) -> str:
        command = [str(environment / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert call("gatescope", "--version").strip() == __version__
    trained = call("gatescope", "train", "-m", "seed=0,1", *SMALL, *FAST, "study.name=toy", "kernel=auto")
    assert "2 runs, 0 finished already, 2 to run" in trained
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/toy/*/run.json")]
    assert [record["status"] for record in records] == ["finished", "finished"]
    assert call("gatescope", "status", "seed=0,1", *SMALL, *FAST, "study.name=toy").endswith("2 finished\n")

    readme = call("gatescope", "report", "study=toy", "paper=false", "figures=metric_by_variant").strip()
    text = (tmp_path / readme).read_text(encoding="utf-8")
    assert "2 of 2 runs finished" in text
    assert "gatescope train" in text

    code = (
        "import gatescope, sys; print(gatescope.__file__);"
        "print(*gatescope.load(sys.argv[1]).predict([[[0.5, 1.0]] * 8]))"
    )
    shown = call("python", "-c", code, records[0]["run_id"])
    assert Path(shown.splitlines()[0]).is_relative_to(environment.parent)
