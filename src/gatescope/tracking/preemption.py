"""SIGTERM and SIGUSR1 (sent by SLURM) stop a run such that it can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pytorch_lightning.utilities.exceptions import SIGTERMException


class Preemption:
    """Signal handler that raises `SIGTERMException`, at once or after the current step.

    Attributes:
        received: Name of the signal that was received, or None.
        deferred: Whether a first signal is only noted, because the current step is completed first.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.received: str | None = None
        self.deferred = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        is_repeated, self.received = self.received is not None, signal.Signals(number).name
        if is_repeated or not self.deferred:
            raise SIGTERMException(self.received)

    def install(self) -> None:
        """Install the handler, which is possible in a main thread only."""
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                signal.signal(number, self)


@contextmanager
def handle_preemption() -> Iterator[Preemption]:
    """Install a `Preemption` handler for the block, and restore the previous handlers afterwards."""
    previous = {number: signal.getsignal(number) for number in Preemption.SIGNALS}
    preemption = Preemption()
    preemption.install()
    try:
        yield preemption
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
