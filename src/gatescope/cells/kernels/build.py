"""Compilation of the native kernel at first use.

The library is stored per version of torch, processor, compiler and source, in a folder that nobody else may
write: whoever writes it decides what this process runs.
"""

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

from gatescope.private import close_to_others, make_private, private_folder, writable_by_others

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=c++20", "-fno-math-errno", "-fno-trapping-math")
NAME = "gatescope_recurrence"


class NoKernel(RuntimeError):
    """The native kernel cannot be compiled or loaded; the message gives the reason."""


@cache
def library() -> ctypes.CDLL:
    """Return the library, compiled if it is not stored yet.

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
    """Return whether the library can be used; if not, log the reason once per process."""
    try:
        library()
    except NoKernel as error:
        log.warning("no native kernel (%s): using torch's recurrent modules", error)
        return False
    return True


def compiler() -> str:
    """Return the path of the C++ compiler that torch's extension loader calls.

    Raises:
        NoKernel: there is none.
    """
    name = os.environ.get("CXX", "c++")
    path = shutil.which(name)
    if path is None:
        raise NoKernel(f"no C++ compiler: {name} is not on the path")
    return path


def directory() -> Path:
    """Return the directory of the library for this torch, processor, compiler and source."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or os.environ.get("GATESCOPE_CACHE")
    folder = Path(root or platformdirs.user_cache_dir("gatescope")).expanduser()
    place = Path("kernels", f"{NAME}-{fingerprint(compiler())}")
    private = private_folder(folder / place)
    return private if private == folder / place else private / place


def fingerprint(compiler: str) -> str:
    """Return a hash of all that the library depends on.

    Args:
        compiler: path of the C++ compiler.
    """
    content = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        content.update(path.read_bytes())
    status = os.stat(compiler)
    machine = (torch.__version__, _processor(), compiler, status.st_size, status.st_mtime_ns, FLAGS)
    content.update(repr(machine).encode())
    return content.hexdigest()[:16]


def _processor() -> str:
    """Return the processor's model and instruction sets, where the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def built(directory: Path) -> Path:
    """Return the shared library in `directory`, compiled if it is missing; safe for concurrent processes."""
    path = directory / f"{NAME}.so"
    if path.exists() and writable_by_others(path) is None:
        return path
    make_private(directory)
    with FileLock(directory / "gatescope.lock"):
        if not path.exists() or writable_by_others(path) is not None:
            # A killed build leaves torch's own lock file, for which the next build would wait forever.
            (directory / "build" / "lock").unlink(missing_ok=True)
            log.info("compiling the native kernel, once: about 15 s")
            made = compile_into(directory / "build")
            close_to_others(made)
            os.replace(made, path)
    return path


def compile_into(directory: Path, flags: tuple[str, ...] = FLAGS, name: str = f"{NAME}_build") -> Path:
    """Compile the sources with torch's extension loader and return the shared library.

    The sources include nothing of torch, which would take a minute to compile.

    Args:
        directory: for all files of the build.
        flags: of the compiler.
        name: of the library.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setuptools warns about itself
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
