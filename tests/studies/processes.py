"""train.py in processes of its own, and the records that they leave."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from conftest import FAST, ROOT, SMALL

Process = subprocess.Popen[str]


def start(*words: str, runs: Path, python: str = sys.executable) -> Process:
    """`python train.py` on data and a model that train in a second."""
    command = [python, str(ROOT / "train.py"), *SMALL, *FAST, *words, f"root={runs}"]
    env = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=runs, env=env, stdout=pipe, stderr=pipe, text=True)


def ended(process: Process, seconds: float = 240) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    out, errors = process.communicate(timeout=seconds)
    return process.returncode, out, errors


def wait_for(condition: Callable[[], Any], process: Process, seconds: float = 240) -> None:
    """While the process runs; what it said is told when it ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def runs_of(root: Path) -> list[dict[str, Any]]:
    """run.json of every run below, by directory."""
    return [json.loads(path.read_text()) for path in sorted(root.glob("*/*/run.json"))]


def ranks_of(process: Process) -> list[psutil.Process]:
    """The ranks that a job started, in their order."""
    children = psutil.Process(process.pid).children(recursive=True)
    ranks = [child for child in children if "TORCHELASTIC_RUN_ID" in child.environ()]
    return sorted(ranks, key=lambda child: int(child.environ()["RANK"]))
