"""Small runs that really trained, for tests of what is done with a finished run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from hydra import compose, initialize_config_dir

from gatescope.run import run

TEXTS = (
    "data=tweets",
    "data.limit=400",
    "model.hidden_size=6",
    "model.embedding_size=8",
    "attention=additive",
    "optimizer.lr=0.01",
)
HEAVY = ("wandb", "pytorch_lightning", "lightning_fabric", "torchmetrics", "matplotlib", "pandas", "sklearn")
"""Packages that take long to import, and that a prediction does not need."""
SERIES = ("data=adding", "data.steps=8", "data.train=64", "data.validation=16", "data.test=16")


def trained_run(root: Path, *overrides: str) -> Path:
    """The directory of a run of two epochs."""
    fast = ("trainer.max_epochs=2", "trainer.threads=1", "tracking=off", "instruments=off")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", ["recipe=none", f"root={root}", *fast, *overrides])
    return run(cfg).directory


def answer_without_heavy_imports(directory: Path, text: str) -> str:
    """The class of a text by another process, which must not have imported any of `HEAVY`."""
    program = f"""
import sys
import gatescope
(answer,) = gatescope.load({str(directory)!r}).predict({text!r})
print(answer.label, sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory.parent, env=environment)
    label, _, imported = done.stdout.strip().partition(" ")
    assert imported == "[]", done.stdout + done.stderr
    return label
