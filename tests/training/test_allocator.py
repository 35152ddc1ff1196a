"""Freed pages stay with the process, seen by the faults that the system counts, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
from gatescope.training.allocator import keep_freed_pages
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
    libc.mallopt(-3, 128 << 10)  # glibc would raise its threshold at the first free: hold it where it begins
for _ in range(4):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True)
    if "not glibc" in done.stderr:
        pytest.skip("the C library here is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_block_that_was_freed_is_used_again_without_page_faults():
    assert faults("keep") < 100
    assert faults("default") > 4000
