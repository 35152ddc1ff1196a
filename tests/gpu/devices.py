"""The device of these tests."""

from __future__ import annotations

import torch

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
TRAINER = ("trainer=gpu",) if ON_GPU else ("trainer=cpu",)
"""The overrides that select the device."""
