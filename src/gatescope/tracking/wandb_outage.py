"""What a run does when W&B's server cannot be used: it waits for a bounded time, once.

The process of W&B's service is ended where it does not end itself. Everything that was logged is in its file
on disk before, so that `wandb sync` sends it later.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

SERVICES = (b"wandb-core",)
"""Names of the programs of W&B's service, which are children of this process."""
_dead: dict[str, str] = {}
"""Servers that could not be used, with the reason."""


def server() -> str:
    """Return the address of W&B's server."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def note_dead(reason: str) -> None:
    """Note that W&B's server cannot be used: the next runs of this process do not wait for it."""
    _dead[server()] = reason


def is_dead() -> str | None:
    """Return why W&B's server cannot be used, if a run of this process has found that; else None."""
    return _dead.get(server())


@contextmanager
def time_limit(seconds: float) -> Iterator[threading.Event]:
    """End W&B's service if the block takes longer; the event that is yielded is set then.

    Args:
        seconds: Time that the block may take.
    """
    expired = threading.Event()

    def end() -> None:
        expired.set()
        end_service()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def end_service() -> None:
    """Kill W&B's service, for which its client otherwise waits without a limit."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # it has ended
            parent = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            name = Path(os.fsdecode(folder.joinpath("cmdline").read_bytes().split(b"\0")[0])).name
            if parent == os.getpid() and name.encode() in SERVICES:
                os.kill(int(folder.name), signal.SIGKILL)
