"""`scripts/check_gpu.sh` on the CPU, with small sizes: what it leaves, and what a failing step changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

SCRIPT = ROOT / "scripts" / "check_gpu.sh"
BENCHMARKS = ("gpu_recurrence", "gpu_step", "gpu_adjoint", "gpu_shared", "gpu_predict")


def check(out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    env = {**kept, "PYTHON": sys.executable, "JOBS": "1", **environment}
    command = [str(SCRIPT), str(out), *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


def steps(out: Path) -> dict[str, dict[str, Any]]:
    lines = (out / "steps.jsonl").read_text().splitlines()
    return {step["name"]: step for step in map(json.loads, lines)}


@pytest.mark.slow
def test_a_step_that_fails_does_not_stop_the_next_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    # No test has this name, so that the first step of tests ends with pytest's code 5.
    skipped = " ".join((*BENCHMARKS, "tests_end_to_end"))
    done = check(out, "--small", SKIP=skipped, PYTEST_ADDOPTS="-k no_such_test", COMMIT="abc")
    assert done.returncode == 1, done.stdout + done.stderr
    codes = {name: step["exit_code"] for name, step in steps(out).items()}
    assert codes == {"machine": 0, "tests_gpu": 5, "train_default": 0, "explain": 0}
    assert all(step["seconds"] > 0 for step in steps(out).values())
    machine = json.loads((out / "machine.json").read_text())
    assert machine["commit_given"] == "abc"
    assert machine["versions"]["torch"]
    assert json.loads((out / "tests.json").read_text())["counts"] == {}
    files = list(out.iterdir())
    assert {file.name for file in files} == {
        "check_gpu.log",
        "machine.json",
        "results.tar.gz",
        "steps.jsonl",
        "tests.json",
    }
    with tarfile.open(out / "results.tar.gz") as bundle:
        names = bundle.getnames()
    assert "results/steps/train_default.log" in names
    assert any(name.endswith(".run.json") for name in names)


def test_time_that_is_up_is_recorded(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = check(out, "--small", LIMIT="1")
    assert done.returncode == 1
    assert {step["exit_code"] for step in steps(out).values()} == {None}
    assert "no time left" in done.stdout
    assert (out / "results.tar.gz").exists()


@pytest.mark.parametrize(
    "words", [(), ("--smal",), ("a", "b"), ("out", "--wheels"), ("out", "--wheels", "no/such")]
)
def test_a_wrong_command_starts_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run([str(SCRIPT), *words], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "OUT" in done.stderr or "--wheels" in done.stderr
    assert not list(tmp_path.glob("*/steps.jsonl"))
