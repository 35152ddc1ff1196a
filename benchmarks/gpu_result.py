"""The result of the benchmarks of a GPU: one file for each card, with a section for each benchmark.

A section is written after each of its cases. A case that fails is listed as such and the next one begins.
After a CUDA error that makes the card unusable for this process, and after a case that does not end, a new
process goes on with the next case.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.result import Result, cpu_name, machine

RESULTS = Path(__file__).parent / "results"
LEAST_LEFT = 5.0
"""Seconds without which no new process is started."""


class NoGPU(SystemExit):
    """There is no GPU; the message says how to run the benchmark without one."""


class NotAvailable(Exception):
    """A case cannot be measured here; the message contains the reason."""


class Case(NamedTuple):
    """A part of a benchmark: its name, and the function that measures it and adds its rows."""

    name: str
    measure: Callable[[], None]


@dataclass
class GPUResult(Result):
    """The section of a benchmark.

    Attributes:
        device: "cuda" or "cpu".
        seconds: Budget of the benchmark, without its imports.
        longest_case: Seconds after which a case on a GPU counts as one that does not end.
        left_out: Names of the cases for which no time was left, or which are not available, with the reason.
        failed: Names of the cases that failed, with the first line of the error.
    """

    device: str = "cuda"
    seconds: float = 60.0
    longest_case: float = 45.0
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    spent: float = 0.0

    def write(self, folder: Path) -> Path:
        """Write the section into the file of the card and return its path."""
        path = path_of(folder, self.device)
        sections = (read(path) or {"sections": {}})["sections"]
        sections[self.name] = {
            "question": self.question,
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "settings": {"seconds": self.seconds, **self.settings},
            "spent_s": self.spent,
            "rows": self.rows,
            "left_out": self.left_out,
            "failed": self.failed,
        }
        folder.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: whoever stops the benchmark finds the file as it was after some case.
        unfinished = path.with_suffix(".tmp")
        content = {"card": card(self.device), "sections": sections}
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(path)
        return path

    def table(self) -> str:
        """Return the rows as text, and what is missing."""
        missing = [f"{name}: {reason}" for name, reason in (self.failed | self.left_out).items()]
        return "\n".join([super().table() if self.rows else f"{self.name}: no rows", *missing])

    def continue_from(self, folder: Path) -> None:
        """Take over what an earlier process has written."""
        section = (read(path_of(folder, self.device)) or {"sections": {}})["sections"].get(self.name, {})
        self.rows = section.get("rows", [])
        self.left_out, self.failed = section.get("left_out", {}), section.get("failed", {})
        self.spent = section.get("spent_s", 0.0)


def run_cases(result: GPUResult, cases: Sequence[Case], folder: Path, after: int = 0) -> GPUResult:
    """Run cases, the most important ones first, until the budget is spent; write the result after each.

    Args:
        result: The section.
        cases: The cases.
        folder: Folder of the file.
        after: Number of cases that earlier processes have run.
    """
    if after:
        result.continue_from(folder)
    result.write(folder)
    started, before = time.monotonic(), result.spent
    for number, case in enumerate(cases[after:], after):
        if result.spent >= result.seconds:
            result.left_out[case.name] = "no time left"
            continue
        with _watched(result, case, folder, number + 1):
            try:
                case.measure()
            except NotAvailable as reason:
                result.left_out[case.name] = str(reason)
            except Exception as error:  # a library, a compiler or the device may fail in any way
                result.failed[case.name] = _first_line(error)
                print(f"{result.name}: {case.name}: {_first_line(error)}", file=sys.stderr, flush=True)
        result.spent = before + time.monotonic() - started
        result.write(folder)
        if case.name in result.failed:
            if _unusable(result.device):
                _restart(result, number + 1)
                break
            _free_memory()
    result.write(folder)
    return result


@contextmanager
def _watched(result: GPUResult, case: Case, folder: Path, after: int) -> Any:
    """Start a new process if the block on a GPU does not end in time."""

    def give_up() -> None:
        result.failed[case.name] = f"did not end within {result.longest_case:.0f} s"
        result.spent += result.longest_case
        result.write(folder)
        _restart(result, after, or_end=True)

    timer = threading.Timer(result.longest_case, give_up)
    timer.daemon = True
    if result.device == "cuda":
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _restart(result: GPUResult, after: int, or_end: bool = False) -> None:
    """Replace this process by one that goes on after the first cases, if there is time for it."""
    sys.stdout.flush()
    if result.seconds - result.spent > LEAST_LEFT:
        # Of two values of an option the last one counts.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "--after", str(after)])
    if or_end:
        os._exit(1)


def _unusable(device: str) -> bool:
    """Return whether a CUDA error has made the card unusable for this process."""
    if device != "cuda":
        return False
    try:
        torch.cuda.synchronize()
        return bool((torch.ones(1, device=device) + 1).item() != 2)
    except RuntimeError:
        return True


def _free_memory() -> None:
    """Free what the traceback of a case kept on the card, such as after an error of its memory."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def device_of(name: str) -> torch.device:
    """Return a device.

    Raises:
        NoGPU: "cuda" is asked for, and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise NoGPU("no GPU that torch can use: --device cpu runs the benchmark at small sizes")
    return torch.device(name)


def path_of(folder: Path, device: str) -> Path:
    """Return the path of the file of a card."""
    name = torch.cuda.get_device_name(0) if device == "cuda" else "cpu"
    return folder / f"gpu_{slug(name)}.json"


def slug(name: str) -> str:
    """Return a name in lower case, with a hyphen for all that is neither letter nor digit."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def read(path: Path) -> dict[str, Any] | None:
    """Return the content of a file of a card, or None if there is no such file."""
    return json.loads(path.read_text()) if path.exists() else None


@cache
def card(device: str) -> dict[str, Any]:
    """Return name, memory, driver and libraries of a card."""
    if device != "cuda":
        return {"name": f"{cpu_name()} (no GPU)", "torch": torch.__version__}
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "gigabytes": properties.total_memory / 2**30,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": driver(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": _version("triton"),
    }


def driver() -> str | None:
    """Return the version of the driver, or None if nvidia-smi does not return it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[
            0
        ]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
