"""Peak memory of the probe and of the loop with autograd, each in a new process.

It is the growth of the peak resident set, measured from after the imports, the model, the batch and a warm-up
at a tiny size.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, astuple
from pathlib import Path

import torch

from benchmarks import loop
from benchmarks.probe_vs_loop import measurements, traces
from benchmarks.result import Result
from benchmarks.setting import CELLS, Size, loss, make
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch

QUESTION = (
    "growth of the peak resident set (new process, after imports, model and batch): the loop with autograd "
    "over the probe"
)
WARM_UP_SIZE = Size(steps=3, batch=2, inputs=4, hidden=4)

Way = Callable[[str, Encoder, Batch], object]
WAYS: dict[str, Way] = {
    "traces": lambda cell, model, batch: traces(model, batch),
    "traces, usual loop": lambda cell, model, batch: loop.probe_by_loop(cell, model, batch, loss),
    "readings": lambda cell, model, batch: measurements(model, batch),
    "readings, usual loop": lambda cell, model, batch: loop.read(cell, model, batch, loss),
}


def measure(rounds: int = 1, size: Size | None = None, cells: tuple[str, ...] = tuple(CELLS)) -> Result:
    """Run the benchmark."""
    size = size or Size()
    result = Result("peak_memory", QUESTION, asdict(size))
    for cell in cells:
        for what in ("traces", "readings"):
            ours, theirs = (in_fresh_process(cell, way, size) for way in (what, f"{what}, usual loop"))
            result.add_value(cell, what, theirs / max(ours, 1e-9), megabytes_loop=theirs, megabytes_ours=ours)
    return result


def in_fresh_process(cell: str, way: str, size: Size) -> float:
    """Return the growth in megabytes, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.peak_memory", cell, way, *map(str, astuple(size))]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def growth(cell: str, way: str, size: Size) -> float:
    """Return by how many megabytes the peak of this process grows."""
    torch.set_num_threads(1)
    WAYS[way](cell, *make(cell, WARM_UP_SIZE))
    model, batch = make(cell, size)
    before = peak()
    WAYS[way](cell, model, batch)
    return peak() - before


def peak() -> float:
    """Return the peak resident set in megabytes.

    On Linux a process inherits ru_maxrss from its parent, so VmHWM is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    print(growth(sys.argv[1], sys.argv[2], Size(*map(int, sys.argv[3:]))))
