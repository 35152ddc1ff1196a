"""Compilation of the native kernel, and the fallback to torch without it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gatescope.cells.kernels import build

needs_compiler = pytest.mark.skipif(not build.available(), reason="no C++ compiler")
PASS = """
import logging, sys, torch
logging.basicConfig(format="%(message)s")
from gatescope.cells.gru import GRU
from gatescope.cells.kernels.layer import kernel_of
layer = GRU(3, 4, kernel=sys.argv[1])
assert layer(torch.randn(2, 5, 3)).h.shape == (2, 5, 4)
layer(torch.randn(2, 5, 3)).h.sum().backward()
print(kernel_of(layer, torch.device("cpu")))
"""


def run(kernel: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PASS, kernel],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("kernel", ["auto", "native"])
def test_without_a_compiler_one_line_is_logged_and_torch_is_used(kernel, tmp_path):
    done = run(kernel, CXX="no-such-compiler", TORCH_EXTENSIONS_DIR=str(tmp_path))
    assert done.stdout == "torch\n"
    assert done.stderr.count("\n") == 1
    assert "no C++ compiler: no-such-compiler is not on the path" in done.stderr


def test_with_a_failing_compiler_torch_is_used(tmp_path):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    done = run("auto", CXX=str(broken), TORCH_EXTENSIONS_DIR=str(tmp_path / "kept"))
    assert done.stdout == "torch\n"
    assert "no native kernel" in done.stderr


@needs_compiler
def test_kernel_torch_compiles_nothing(tmp_path):
    assert run("torch", TORCH_EXTENSIONS_DIR=str(tmp_path)).stdout == "torch\n"
    assert list(tmp_path.iterdir()) == []


def test_concurrent_processes_build_once_and_a_killed_build_is_repeated(tmp_path, monkeypatch):
    (tmp_path / "build").mkdir()
    lock = tmp_path / "build" / "lock"
    lock.touch()  # torch's own, which a build that was killed leaves behind
    calls = []

    def compile_into(directory: Path) -> Path:
        calls.append(directory)
        assert not lock.exists()
        assert directory == lock.parent
        (directory / "made.so").write_bytes(b"kernel")
        return directory / "made.so"

    monkeypatch.setattr(build, "compile_into", compile_into)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: build.built(tmp_path), range(4)))
    assert len(calls) == 1
    assert {path.read_bytes() for path in found} == {b"kernel"}


@needs_compiler
def test_the_directory_depends_on_compiler_and_flags(monkeypatch):
    place = build.directory()
    monkeypatch.setattr(build, "FLAGS", ("-O2",))
    assert build.directory() != place
    monkeypatch.undo()
    monkeypatch.setenv("CXX", sys.executable)  # any other program
    assert build.directory() != place


@needs_compiler
def test_python_and_cpp_agree_on_the_call():
    """A field too many on either side would shift all pointers after it."""
    from gatescope.cells.kernels.recurrence import _Call

    size = build.library().call_size
    size.restype = ctypes.c_int64
    assert size() == ctypes.sizeof(_Call)
