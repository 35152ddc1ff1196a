"""Processes that end with the one that started them. No torch here."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
EVERY_SECONDS = 1.0
"""Between two looks at the parent, where the system does not tell of its death."""


def die_with_parent(parent: int | None = None) -> None:
    """Has this process killed when the one that started it dies: none works on that nobody waits for.

    Args:
        parent: id of the process that started this one, where it is known; it may have died before this call.
    """
    started_by = os.getppid() if parent is None else parent
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(started_by,), daemon=True).start()
    if os.getppid() != started_by or started_by == 1:
        os._exit(1)  # it died before we asked


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_sweep() -> None:
    """In a worker of joblib, which would wait minutes for work after the sweep was killed; else nothing."""
    if "loky" in type(multiprocessing.current_process()).__module__:
        sweep = multiprocessing.parent_process()
        die_with_parent(None if sweep is None else sweep.pid)
