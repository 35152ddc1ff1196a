"""How a command is called from where the reader stands, and how it prints its result."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def command(name: str) -> str:
    """Return `python train.py` or `python scripts/NAME.py` in a checkout, else `gatescope NAME`.

    `gatescope NAME` it is in a checkout, too, where the reader has called the console command.

    Args:
        name: Name of a subcommand of `gatescope`.
    """
    if re.search(r"(^|[\\/])gatescope( \w+)?$", sys.argv[0]):
        return f"gatescope {name}"
    script = "train.py" if name == "train" else f"scripts/{name}.py"
    in_checkout = Path.cwd() == CHECKOUT and (CHECKOUT / script).is_file()
    return f"python {script}" if in_checkout else f"gatescope {name}"


def write(text: str) -> None:
    """Print the result of a command; a reader that has enough of it (`| head`) ends the output, not more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # Python's documentation: the stream is flushed once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
