"""Runs the native kernel's tests on a build with the address sanitizer: a step past an end stops them.

    python scripts/check_kernel_with_asan.py [PYTEST ARGUMENT …]

It needs GCC's libasan, and first makes sure that it finds a walk over a buffer that is too short. Exit code
0: every test passed and nothing was found; 1: something was; 2: no sanitizer here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gatescope.cells.kernels import build

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["tests/cells/test_native_kernel.py", "-p", "no:cacheprovider"]
FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address", "-shared", "-fPIC", *build.FLAGS[1:])
TOO_SHORT = """
import torch
from gatescope.cells.gru import GRU
from gatescope.cells.kernels.layout import layout
from gatescope.cells.kernels.recurrence import forward
forward(GRU(2, 5).native_weights, torch.zeros(3, 3, 2), None, layout(None, 3, 4))
"""
"""Inputs of three steps, and a walk of four."""


def main() -> int:
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_EXTENSIONS_DIR"] = folder
        try:
            environment = sanitized()
            compile_into(build.directory())
        except (OSError, build.NoKernel, subprocess.SubprocessError) as error:
            print(f"check_kernel_with_asan: {error}", file=sys.stderr)
            return 2
        if not finds_a_fault(environment):
            print("check_kernel_with_asan: a buffer that is too short was not found", file=sys.stderr)
            return 1
        command = [sys.executable, "-m", "pytest", *(sys.argv[1:] or TESTS)]
        return min(1, subprocess.run(command, env=environment, cwd=ROOT).returncode)


def compile_into(directory: Path) -> None:
    """Where `build` will look for it. Not by torch's loader, which would load it into this process too."""
    directory.mkdir(parents=True)
    sources = [str(source) for source in sorted(build.SOURCES.glob("*.cpp"))]
    made = directory / f"{build.NAME}.so"
    subprocess.run([build.compiler(), *FLAGS, *sources, "-o", str(made)], check=True)


def sanitized() -> dict[str, str]:
    """The environment of a Python whose every allocation is watched; its own leaks are none of ours.

    Raises:
        FileNotFoundError: the compiler has no libasan.
    """
    found = [shared(name) for name in ("libasan.so", "libstdc++.so.6")]
    options = "detect_leaks=0:abort_on_error=0:exitcode=99"
    return os.environ | {"LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": options}


def shared(name: str) -> str:
    command = [build.compiler(), f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(path).is_absolute():
        raise FileNotFoundError(f"{build.compiler()} has no {name}")
    return str(Path(path).resolve())


def finds_a_fault(environment: dict[str, str]) -> bool:
    done = subprocess.run([sys.executable, "-c", TOO_SHORT], env=environment, capture_output=True, text=True)
    return done.returncode == 99 and "AddressSanitizer: heap-buffer-overflow" in done.stderr


if __name__ == "__main__":
    sys.exit(main())
