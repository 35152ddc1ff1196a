"""New processes on one core, in which torch, JAX and Keras are timed in turn."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
ANSWER = "answer: "
"""Prefix of the lines with answers, which distinguishes them from other lines that a process prints."""
MISSING = "JAX and Keras are not measured: pip install -c constraints.txt -e '.[bench]' adds them"


def has_jax() -> bool:
    """Return whether JAX and Keras are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("jax", "keras"))


def warn_without_jax() -> None:
    """Print a warning if JAX or Keras is not installed."""
    if not has_jax():
        print(MISSING, file=sys.stderr)


def in_fresh_process(module: str, **arguments: Any) -> Any:
    """Call `serve` in `python -m module` and return its answer; its stderr is not captured."""
    done = subprocess.run(**_process(module, arguments), check=True)
    return json.loads(done.stdout.splitlines()[-1])


def serve(answer: Callable[..., Any]) -> None:
    """Answer `in_fresh_process`: call `answer` with the arguments and print what it returns.

    The process uses one core, or as many as the argument `threads` says.
    """
    arguments = json.loads(sys.argv[1])
    pin(arguments.get("threads", 1))
    torch.set_num_threads(1)
    print(json.dumps(answer(**arguments)))


def run_in_turn(module: str, arguments_by_name: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Call `serve_in_turn` in several new processes `python -m module`, and return their answers by name.

    The processes exist at the same time, on one core, and work one after another. None has the imports of
    another.

    Args:
        module: The module that the processes run.
        arguments_by_name: Arguments of each process, by name.
    """
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(_waiting(module, arguments))
            for name, arguments in arguments_by_name.items()
        }
        for process in processes.values():
            _answer(process)  # it has warmed up, and does not use the core while another is timed
        return {name: _next(process) for name, process in processes.items()}


@contextmanager
def _waiting(module: str, arguments: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(**_process(module, arguments), stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _process(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `subprocess` for a process that runs `module`."""
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    environment = os.environ | ENVIRONMENT
    return {"args": command, "env": environment, "cwd": ROOT, "stdout": subprocess.PIPE, "text": True}


def _next(process: subprocess.Popen[str]) -> Any:
    assert process.stdin is not None
    print(file=process.stdin, flush=True)
    return _answer(process)


def _answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(ANSWER):
            return json.loads(line.removeprefix(ANSWER))
    raise RuntimeError(f"{process.args} ended with exit code {process.wait()}")


def serve_in_turn(make: Callable[..., Callable[[], Any]]) -> None:
    """Answer `run_in_turn`: call `make`, and when all processes are ready the function that it returns."""
    pin(1)
    torch.set_num_threads(1)
    function = make(**json.loads(sys.argv[1]))
    print(ANSWER + json.dumps("ready"), flush=True)
    if sys.stdin.readline():
        print(ANSWER + json.dumps(function()), flush=True)


def pin(cores: int) -> None:
    """Restrict this process to the last of the cores that it may use, where the system supports that.

    Interrupts mostly use the first core. JAX must be imported afterwards, because it starts a thread for each
    core.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def freeze_garbage() -> None:
    """Exclude existing objects from garbage collection, so that collections between timings are short."""
    gc.collect()
    gc.freeze()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
