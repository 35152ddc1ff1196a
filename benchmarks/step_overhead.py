"""Time that Lightning, tracking and instruments add to a training step."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import nn

from benchmarks.result import Result, Target
from benchmarks.timing import ratio
from gatescope.data.datamodule import SequenceData
from gatescope.run import build_module, load_data, run

CONF = Path(__file__).resolve().parents[1] / "conf"
QUESTION = (
    "seconds of a training step of `run` (Lightning, record, offline W&B, checkpoints, default instruments "
    "at their intervals) over the same step in a plain loop, with the same batches, model, loss, clipping "
    "and optimiser. One epoch each, from its first step to its last"
)
TARGETS = {"default": Target(at_most=1.15)}
SIZE = ("data=adding", "data.steps=50", "data.batch_size=128", "model.hidden_size=64")
STEPS = 300


def measure(rounds: int = 5, cells: tuple[str, ...] = ("gru",), steps: int = STEPS) -> Result:
    """Run the benchmark."""
    result = Result(
        "step_overhead", QUESTION, {"size": list(SIZE), "steps": steps, "rounds": rounds}, TARGETS
    )
    for cell in cells:
        seconds: dict[str, list[float]] = {"default": [], "off": [], "bare": []}
        for turn in range(rounds + 1):
            for name in list(seconds) if turn % 2 else reversed(seconds):
                taken = step_in_loop(cell, steps) if name == "bare" else step_in_run(cell, name, steps)
                if turn:  # the first round warms up
                    seconds[name].append(taken)
        for name in ("default", "off"):
            result.add(cell, name, ratio(np.array(seconds[name]), np.array(seconds["bare"])))
    return result


def step_in_run(cell: str, instruments: str, steps: int) -> float:
    """Return the seconds per training step in a temporary run."""
    with tempfile.TemporaryDirectory() as root:
        result = run(config(cell, steps, f"instruments={instruments}", f"root={root}"))
        return result.summary["seconds_per_epoch"] / steps


def step_in_loop(cell: str, steps: int) -> float:
    """Return the seconds per training step in a plain loop."""
    cfg = config(cell, steps)
    pl.seed_everything(cfg.seed, verbose=False)
    data: SequenceData = load_data(cfg)
    module = build_module(cfg, data)
    model, optimizer, loss = module.model, module.configure_optimizers(), module.objective.loss
    model.train()
    torch.use_deterministic_algorithms(bool(cfg.trainer.deterministic))
    started = time.perf_counter()
    for batch in data.train_dataloader():
        optimizer.zero_grad()
        loss(model(batch).values, batch.targets).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
    return (time.perf_counter() - started) / steps


def config(cell: str, steps: int, *overrides: str) -> DictConfig:
    """Compose the config of a run of one epoch."""
    given: Any = [
        *SIZE,
        f"model={cell}",
        f"data.train={128 * steps}",
        "data.validation=128",
        "data.test=128",
        "trainer.max_epochs=1",
        "trainer.threads=1",
        "trainer.enable_progress_bar=false",
        *overrides,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["recipe=none", *given])
