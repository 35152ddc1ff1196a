"""What a command needs of the process that it is started in: standard streams, a working folder.

A process may be started with closed streams (by cron or a daemon), with streams that cannot be written (a
full disk, a pipe whose reader has ended) or in a language with few characters, and in a folder that is gone.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
GONE = 2
"""Exit code where there is no working folder, that of wrong input."""


def prepare() -> None:
    """Replace closed streams, let no output end the command, and exit if the working folder is gone.

    It is called once, at the start of a command, before files are opened: without it one of them would get
    the descriptor of a closed stream, and what libraries print would be written into it.
    """
    for descriptor, (name, mode) in enumerate(STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115  open until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")  # characters that the language of the user lacks
    atexit.register(_flush)
    logging.raiseExceptions = False  # a line that cannot be written is lost, without a traceback
    try:
        os.getcwd()
    except FileNotFoundError:
        print("the working folder is gone: change to one that exists", file=sys.stderr)
        sys.exit(GONE)


def _flush() -> None:
    """Drop what a stream cannot take: Python would end the process with another exit code."""
    for descriptor, stream in enumerate((sys.stdout, sys.stderr), 1):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
