"""Shared by all tests: configs as `train.py` composes them, and small ones that train in a second."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import absl.logging
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from gatescope import announce

# Keras and TensorBoard bring absl, whose handler closes its stream when Hydra configures logging: made in the
# middle of a test, that stream would be the one that pytest captures with.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

# Without a GPU the kernels in Triton run in its interpreter; this is read when they are first imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# A shell that runs the suite in the background leaves SIGINT ignored, for it and for all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine everything takes longer than a reader wants to wait without a word.
announce.SECONDS = 600.0

ROOT = Path(__file__).parents[1]
Compose = Callable[..., DictConfig]

SMALL = (
    "data=adding",
    "data.steps=8",
    "data.train=64",
    "data.validation=32",
    "data.test=32",
    "data.batch_size=16",
)
FAST = (
    "model.hidden_size=6",
    "trainer.log_every_n_steps=1",
    "trainer.max_epochs=1",
    "trainer.threads=1",
    "tracking=off",
)


def first_few(cases: Iterable[Any], count: int) -> list[Any]:
    """Return cases of `parametrize` of which all but the first `count` are slow tests."""
    return [
        case if number < count else pytest.param(case, marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


@pytest.fixture
def config(tmp_path: Path) -> Compose:
    """`config("model=lstm", …)`: the composed config, with its records under tmp_path.

    It has no recipe unless one is given: a test that names a setting shall have it on all data.
    """

    def composed(*overrides: str) -> DictConfig:
        own = [] if any(word.startswith("recipe=") for word in overrides) else ["recipe=none"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("config", [f"root={tmp_path}", *own, *overrides])

    return composed


@pytest.fixture
def small(config: Compose) -> Compose:
    """As `config`, for a model and data that train in well under a second."""
    return lambda *overrides: config(*SMALL, *FAST, *overrides)


@pytest.fixture
def recorded() -> Callable[[DictConfig], dict[str, dict[str, Any]]]:
    """`recorded(cfg)`: runs it; the last reading of every name, as its readings.jsonl has it."""

    def last_rows(cfg: DictConfig) -> dict[str, dict[str, Any]]:
        from gatescope.run import run

        lines = (run(cfg).directory / "readings.jsonl").read_text(encoding="utf-8").splitlines()
        return {row["name"]: row for row in map(json.loads, lines)}

    return last_rows
