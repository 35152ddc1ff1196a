"""Processes that end when their parent ends. This module does not import torch."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1  # sys/prctl.h
POLL_SECONDS = 1.0
"""Interval between two checks of the parent, if the system does not signal its end."""


def die_with_parent(parent: int | None = None) -> None:
    """Kill this process when its parent ends.

    Args:
        parent: Process id of the parent, if known; it may have ended before this call.
    """
    parent_id = os.getppid() if parent is None else parent
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_poll_parent, args=(parent_id,), daemon=True).start()
    if os.getppid() != parent_id or parent_id == 1:
        os._exit(1)  # the parent ended before this call


def _poll_parent(parent_id: int) -> None:
    """Kill this process once its parent has changed."""
    while os.getppid() == parent_id:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_sweep() -> None:
    """Kill this process when the sweep ends, if it is a joblib worker, which would wait for minutes."""
    if "loky" in type(multiprocessing.current_process()).__module__:
        sweep = multiprocessing.parent_process()
        die_with_parent(None if sweep is None else sweep.pid)
