"""Freed pages stay with the process, seen by the faults that the system counts; garbage."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
from gatescope.training.housekeeping import older_objects_left_alone

FAULTS = """
import ctypes, resource, sys
from gatescope.training.housekeeping import keep_freed_pages
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


class Node:
    """Garbage once nobody but itself holds it."""

    def __init__(self):
        self.itself = self


def test_what_was_there_is_left_alone_and_what_is_made_inside_is_not():
    older = Node()
    seen = weakref.ref(older)
    with older_objects_left_alone():
        newer = weakref.ref(Node())
        del older
        gc.collect()
        assert newer() is None
        assert seen() is not None
    gc.collect()
    assert seen() is None
