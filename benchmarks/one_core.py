"""A fresh process on one core, in which torch, JAX and Keras can be timed in turn."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
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
MISSING = "JAX and Keras are not measured: pip install -c constraints.txt -e '.[bench]' adds them"


def has_jax() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("jax", "keras"))


def say_what_is_missing() -> None:
    if not has_jax():
        print(MISSING, file=sys.stderr)


def in_fresh_process(module: str, **arguments: Any) -> Any:
    """What `serve` prints in `python -m module`; what it complains of passes through."""
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def serve(answer: Callable[..., Any]) -> None:
    """The other end of `in_fresh_process`: calls `answer` with its arguments and prints what it returns. An
    argument `threads` says on how many cores, instead of one."""
    arguments = json.loads(sys.argv[1])
    pin(arguments.get("threads", 1))
    torch.set_num_threads(1)
    print(json.dumps(answer(**arguments)))


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
