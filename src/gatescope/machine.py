"""Checks of a config against this machine, its cores and its memory, before anything starts.

torch is imported inside functions, because a sweep whose runs are all finished does not need it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatescope.config import ConfigError, resolved

if TYPE_CHECKING:
    import numpy as np

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The limit of a container, which is less than the memory of its machine."""
PROCESSES_PER_CORE = 8
"""Most processes of a kind per core: more only wait for each other, and each takes memory."""
MOST_THREADS = 1024
STATES = {
    "Adam": 2,
    "AdamW": 2,
    "NAdam": 2,
    "RAdam": 2,
    "Adamax": 2,
    "RMSprop": 1,
    "Adagrad": 1,
    "Adadelta": 2,
}
"""Values that an optimizer keeps for each parameter, by the name of its class."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory of this machine, or of the container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def check_machine(cfg: Mapping[str, Any]) -> None:
    """Check that this machine has the cores and the memory that a config needs.

    Args:
        cfg: Config of the run; its form has been checked.

    Raises:
        ConfigError: It does not; each problem names the key and what would fit.
    """
    plain = resolved(cfg)
    problems = [*_core_problems(plain), *_size_problems(plain)]
    if problems:
        raise ConfigError(problems)


def _core_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    count = cores()
    most = PROCESSES_PER_CORE * count
    trainer, workers = cfg["trainer"], cfg["data"].get("workers")
    devices, threads = trainer["devices"], trainer["threads"]
    on_cpu = trainer["accelerator"] == "cpu" and "baseline" not in cfg["model"]
    has = f"this machine has {count} core{'s' * (count != 1)}"
    if on_cpu and type(devices) is int and devices > most:
        yield f"trainer.devices: given {devices} processes; {has}: give at most {most}"
    if type(workers) is int and workers > most:
        yield f"data.workers: given {workers} processes; {has}: give at most {most}, or 0 for none"
    if threads is not None and threads > MOST_THREADS:
        yield f"trainer.threads: given {threads}; {has}: give at most {MOST_THREADS}, or null for all cores"


def _size_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    model = cfg["model"]
    if "baseline" in model:
        return
    if model["parameters"] is not None:
        given, count = f"model.parameters: given {model['parameters']}", int(model["parameters"])
        least = _stack_parameters(json.dumps(model | {"hidden_size": 1}, sort_keys=True))
        if count < least:
            yield f"{given}, and the recurrent layers of one unit need at least {least}: give a larger number"
            return
    else:
        count = _stack_parameters(json.dumps(model, sort_keys=True))
        given = f"model.hidden_size: given {model['hidden_size']} with model.layers={model['layers']}"
    if problem := memory_problem(cfg, count):
        yield f"{given}: {problem}"


def states_of_a_batch(lengths: np.ndarray, batch_size: int, per_step: int) -> int:
    """Return how many values the states of one batch have at least, which are kept for the backward pass.

    Gates and padding are not counted: what is refused here cannot be trained.

    Args:
        lengths: Lengths of the train sequences, (N,).
        batch_size: Examples in a batch.
        per_step: Values of the states of all layers at a step.
    """
    batches = max(1, math.ceil(len(lengths) / batch_size))
    return per_step * math.ceil(int(lengths.sum()) / batches)  # of the mean batch; another has as many


def memory_problem(cfg: Mapping[str, Any], parameters: int, states: int = 0) -> str:
    """Return why a number of parameters cannot be trained in the memory of this machine; "" if it can.

    Args:
        cfg: Config of the run.
        parameters: Number of parameters, or a lower bound of it.
        states: Values of the states of one batch, where the data are known; see `states_of_a_batch`.
    """
    trainer = cfg["trainer"]
    precision = str(trainer.get("precision", "32-true"))
    width = 8 if precision.startswith("64") else 2 if precision in ("bf16-true", "16-true") else 4
    if trainer["accelerator"] == "cpu":
        copies = 2 + _optimizer_states(cfg["optimizer"])
        what = "weights, gradients and state of the optimizer"
    else:
        copies, what, states = 1, "weights", 0  # they are initialised in the memory of the machine
    needed, of_batch, available = parameters * width * copies, states * width, memory()
    if needed + of_batch <= available:
        return ""
    taken = f"{parameters:,} parameters; {what} take {gib(needed)}"
    if needed > available:
        return f"{taken}, and this machine has {gib(available)}; use a smaller model"
    return (
        f"{taken}, the states of one batch {gib(of_batch)}, and this machine has {gib(available)}; use a "
        "smaller data.batch_size, shorter sequences, or a smaller model"
    )


def _optimizer_states(optimizer: Mapping[str, Any]) -> int:
    """Return how many values an optimizer keeps for each parameter; 0 if that is not known."""
    name = str(optimizer.get("_target_", "")).rpartition(".")[2]
    return STATES.get(name, 1 if optimizer.get("momentum") else 0)


@lru_cache(maxsize=64)
def _stack_parameters(model: str) -> int:
    """Return the number of parameters of the recurrent layers, at least.

    The input of the first layer is not known before the data are, and counts as one feature. Two layers are
    built on the meta device, without memory.

    Args:
        model: The model section of a config, as JSON.
    """
    import torch
    from hydra.utils import instantiate

    from gatescope.models.budget import count_parameters

    node = json.loads(model)
    directions = 2 if node["bidirectional"] else 1
    size = node["hidden_size"]
    try:
        cell = instantiate(node["cell"])
        with torch.device("meta"):
            first, other = (count_parameters([cell(width, size)]) for width in (1, size * directions))
    except Exception:  # an invalid cell is reported when the model is built
        return 0
    return directions * (first + (node["layers"] - 1) * other)


def gib(size: float) -> str:
    """Return a number of bytes as GiB."""
    return f"{size / 2**30:,.1f} GiB"
