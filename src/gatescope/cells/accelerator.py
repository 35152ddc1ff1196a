"""What an accelerator can run."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch

TRITON_CAPABILITY = (8, 0)
"""Oldest compute capability that Triton compiles for."""


@cache
def supports_triton(device: torch.device) -> bool:
    """Return whether Triton is installed and compiles for a device."""
    return (
        device.type == "cuda"
        and torch.version.cuda is not None
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(device) >= TRITON_CAPABILITY
    )
