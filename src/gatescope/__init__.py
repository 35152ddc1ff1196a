"""Gatescope: GRU, LSTM or a plain RNN, with or without attention: which, why, and what happens inside?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from gatescope.trained import Trained

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(
    run: str | Path,
    root: str | Path | None = None,
    device: str | torch.device = "cpu",
    trust: bool = False,
) -> Trained:
    """Load a finished run as a model that predicts; see `gatescope.loading.load`."""
    from gatescope.loading import load as loaded  # imports torch

    return loaded(run, root, device, trust)
