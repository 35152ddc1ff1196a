"""A line on the terminal while something takes long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 2.0
"""Seconds after which a reader wants to know what a program is doing."""


@contextmanager
def announced(text: str) -> Iterator[None]:
    """Print a text to stderr if the block takes longer than `SECONDS`.

    Args:
        text: What is done, such as "reading reviews.csv".
    """
    timer = threading.Timer(SECONDS, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
