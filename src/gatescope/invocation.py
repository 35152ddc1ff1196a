"""How a command is called from where the reader stands, for messages and reports."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def command(name: str) -> str:
    """Return `python train.py` or `python scripts/NAME.py` in a checkout, else `gatescope NAME`.

    Args:
        name: Name of a subcommand of `gatescope`.
    """
    script = "train.py" if name == "train" else f"scripts/{name}.py"
    in_checkout = Path.cwd() == CHECKOUT and (CHECKOUT / script).is_file()
    return f"python {script}" if in_checkout else f"gatescope {name}"
