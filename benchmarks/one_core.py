"""Fresh processes on one core, in which torch, JAX and Keras can be timed in turn."""

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
"""Before each answer on a line of its own: what runs may print lines too."""
MISSING = "JAX and Keras are not measured: pip install -c constraints.txt -e '.[bench]' adds them"


def has_jax() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("jax", "keras"))


def say_what_is_missing() -> None:
    if not has_jax():
        print(MISSING, file=sys.stderr)


def in_fresh_process(module: str, **arguments: Any) -> Any:
    """What `serve` prints in `python -m module`; what it complains of passes through."""
    done = subprocess.run(**_process(module, arguments), check=True)
    return json.loads(done.stdout.splitlines()[-1])


def serve(answer: Callable[..., Any]) -> None:
    """The other end of `in_fresh_process`: calls `answer` with its arguments and prints what it returns. An
    argument `threads` says on how many cores, instead of one."""
    arguments = json.loads(sys.argv[1])
    pin(arguments.get("threads", 1))
    torch.set_num_threads(1)
    print(json.dumps(answer(**arguments)))


def one_after_another(module: str, everyone: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What `serve_once` prints in `python -m module`, for each of some fresh processes: they live side by
    side on one core, one of them at work at a time, and none has what another imported."""
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(_waiting(module, arguments)) for name, arguments in everyone.items()
        }
        for process in processes.values():
            _answer(process)  # one that still warms up would take the core from one that is timed
        return {name: _next(process) for name, process in processes.items()}


@contextmanager
def _waiting(module: str, arguments: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(**_process(module, arguments), stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _process(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """How one is started that serves `module`, and is listened to."""
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


def serve_once(make: Callable[..., Callable[[], Any]]) -> None:
    """The other end of `one_after_another`: `make`, with its arguments, gives what is called when all are
    ready."""
    pin(1)
    torch.set_num_threads(1)
    act = make(**json.loads(sys.argv[1]))
    print(ANSWER + json.dumps("ready"), flush=True)
    if sys.stdin.readline():
        print(ANSWER + json.dumps(act()), flush=True)


def pin(cores: int) -> None:
    """To the last of the cores that this process may use, where the system can: a machine's interrupts mostly
    go to the first. Before JAX is imported, which starts a thread for each core that it sees."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def forget_garbage() -> None:
    """What has been imported is not looked through again between any two timings."""
    gc.collect()
    gc.freeze()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
