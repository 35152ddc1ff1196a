"""What torch does not document: whether a backward pass is running.

Activation checkpointing runs a module's forward pass again during the backward pass, and such a pass is no
new one. Tested with torch 2.13; `GATESCOPE_WORKAROUNDS=0` turns it off, and then a model with activation
checkpointing cannot be watched.
"""

from __future__ import annotations

import torch

from gatescope.startup import workarounds_enabled


def in_backward() -> bool:
    """Return whether autograd runs a backward pass in this thread."""
    if not workarounds_enabled() or not hasattr(torch._C, "_current_graph_task_id"):
        return False
    return bool(torch._C._current_graph_task_id() != -1)
