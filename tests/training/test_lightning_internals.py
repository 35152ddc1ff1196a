"""The work-arounds for overhead: each has the effect that it promises, and none changes a number."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from tracking.records import assert_same

from gatescope.run import run
from gatescope.startup import SWITCH, workarounds_enabled
from gatescope.training.lightning_internals import NullProfiler
from gatescope.training.module import SequenceTask

PAGE_FAULTS = """
import ctypes, resource, sys
from gatescope.training.lightning_internals import keep_freed_pages
if sys.argv[1] == "keep" and not keep_freed_pages():
    raise SystemExit("not glibc")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use(size=16 << 20):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if sys.argv[1] == "default":
    libc.mallopt(-3, 128 << 10)  # glibc would raise its threshold with the first free
for _ in range(4):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    """Return the number of page faults of repeated allocations in a new process."""
    process = subprocess.run([sys.executable, "-c", PAGE_FAULTS, mode], capture_output=True, text=True)
    if "not glibc" in process.stderr:
        pytest.skip("the C library is not glibc")
    assert process.returncode == 0, process.stderr
    return int(process.stdout)


@pytest.mark.slow
def test_freed_memory_is_used_again_without_page_faults() -> None:
    assert page_faults("keep") < 100
    assert page_faults("default") > 4000


SMALL_RUN = (
    "data.train=64", "data.validation=32", "data.test=32", "data.batch_size=16", "model.hidden_size=6",
    "trainer.threads=1", "trainer.max_epochs=2", "trainer.log_every_n_steps=2",
    "trainer.gradient_clip_val=0.3", "checkpoint.keep=all", "tracking=off",
)  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        ("data=adding", "data.steps=8", "instruments.every_n_steps=3"),
        ("data=delayed_recall", "data.lag=3", "+trainer.accumulate_grad_batches=2", "instruments=off"),
    ],
)
def test_a_run_without_work_arounds_gives_the_same_numbers(
    config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[str, ...]
) -> None:
    directories = []
    for switch in ("1", "0"):
        monkeypatch.setenv(SWITCH, switch)
        assert workarounds_enabled() == (switch == "1")
        cfg = config(*SMALL_RUN, *data, f"root={tmp_path}/{switch}")
        directories.append(run(cfg).directory)
    assert_same(*directories)


def counted(function: Callable[..., Any], calls: list[str], name: str) -> Callable[..., Any]:
    """Return a function that notes each of its calls."""

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return function(*args, **kwargs)

    return call


def test_the_switch_turns_each_work_around_off(
    config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(NullProfiler, "profile", counted(lambda *_: nullcontext(), calls, "profiler"))
    for owner, name in ((torch.linalg, "vector_norm"), (torch.optim.Adam, "zero_grad")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), calls, name))
    monkeypatch.setattr(SequenceTask, "log_dict", counted(SequenceTask.log_dict, calls, "log"))
    counts = {}
    for switch in ("1", "0"):
        monkeypatch.setenv(SWITCH, switch)
        calls.clear()
        words = ("data=adding", "data.steps=8", "instruments=off", f"root={tmp_path}/{switch}")
        run(config(*SMALL_RUN, *words))
        counts[switch] = Counter(calls)
    on, off = counts["1"], counts["0"]
    assert min(on["profiler"], on["vector_norm"], off["zero_grad"]) > 0
    assert max(off["profiler"], on["zero_grad"]) == 0
    assert on["vector_norm"] > off["vector_norm"]
    assert off["log"] - on["log"] == 4  # of eight updates, every second one is logged
