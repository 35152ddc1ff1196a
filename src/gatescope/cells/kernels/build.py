"""Builds the native kernel at first use and keeps it, one for each torch, processor, compiler and source."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path

import ninja
import platformdirs
import torch
from filelock import FileLock

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=c++20", "-fno-math-errno", "-fno-trapping-math")
NAME = "gatescope_recurrence"


class NoKernel(RuntimeError):
    """The native kernel cannot be built or loaded here; the message says why."""


@cache
def library() -> ctypes.CDLL:
    """The kernel, built if it has not been.

    Raises:
        NoKernel: there is no compiler, or it failed.
    """
    if not any(SOURCES.glob("*.cpp")):
        raise NoKernel(f"no C++ sources in {SOURCES}")
    try:
        return ctypes.CDLL(str(built(directory())))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise NoKernel(str(error).splitlines()[0]) from error


@cache
def available() -> bool:
    """Whether there is a kernel; where not, one line says why, once a process."""
    try:
        library()
    except NoKernel as error:
        log.warning("no native kernel (%s): torch's own recurrent modules are used", error)
        return False
    return True


def compiler() -> str:
    """Path of the C++ compiler that torch's extension loader would call."""
    name = os.environ.get("CXX", "c++")
    found = shutil.which(name)
    if found is None:
        raise NoKernel(f"no C++ compiler: {name} is not on the path")
    return found


def directory() -> Path:
    """Where the kernel of this torch, processor, compiler and source is kept."""
    named = os.environ.get("TORCH_EXTENSIONS_DIR") or os.environ.get("GATESCOPE_CACHE")
    return (
        Path(named or platformdirs.user_cache_dir("gatescope"))
        / "kernels"
        / f"{NAME}-{fingerprint(compiler())}"
    )


def fingerprint(compiler: str) -> str:
    content = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        content.update(path.read_bytes())
    status = os.stat(compiler)
    machine = (torch.__version__, _processor(), compiler, status.st_size, status.st_mtime_ns, FLAGS)
    content.update(repr(machine).encode())
    return content.hexdigest()[:16]


def _processor() -> str:
    """Its model and the instructions it knows, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def built(directory: Path) -> Path:
    """The shared library in `directory`, built there if it is missing; safe when several processes start."""
    made = directory / f"{NAME}.so"
    if made.exists():
        return made
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "gatescope.lock"):
        if not made.exists():
            # torch's own lock stays behind when a build is killed, and would be waited for for ever.
            (directory / "build" / "lock").unlink(missing_ok=True)
            log.info("building the native kernel, once: about 15 s")
            os.replace(compile_into(directory / "build"), made)
    return made


def compile_into(directory: Path, flags: tuple[str, ...] = FLAGS, name: str = f"{NAME}_build") -> Path:
    """By torch's extension loader; the sources ask nothing of torch, which would take a minute to compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setuptools, of itself
        from torch.utils import cpp_extension
    directory.mkdir(parents=True, exist_ok=True)
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join((ninja.BIN_DIR, path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cpp_extension.load(
                name,
                [str(source) for source in sorted(SOURCES.glob("*.cpp"))],
                extra_cflags=list(flags),
                build_directory=str(directory),
                is_python_module=False,
            )
    finally:
        os.environ["PATH"] = path
    return directory / f"{name}.so"
