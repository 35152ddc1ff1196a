"""The rank of this process, as torchrun sets it. This module does not import torch."""

from __future__ import annotations

import os


def under_torchrun() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Return the rank of this process: 0 without torchrun, and for the rank that writes the record."""
    return int(os.environ["RANK"]) if under_torchrun() else 0
