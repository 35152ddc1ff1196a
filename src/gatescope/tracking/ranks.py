"""Which process of a run this is, as torchrun says. No torch here."""

from __future__ import annotations

import os


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """0 of a run in one process, and of the rank that owns the record."""
    return int(os.environ["RANK"]) if under_torchrun() else 0
