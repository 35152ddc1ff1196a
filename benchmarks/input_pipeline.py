"""Throughput of the input pipeline, relative to that of training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer

from benchmarks.result import Result, Target
from benchmarks.step_overhead import CONF
from benchmarks.timing import interleaved, ratio
from gatescope.composition import compose, make_loader
from gatescope.run import build_module, load_data
from gatescope.sequences import Batch
from gatescope.training.module import SequenceTask

QUESTION = (
    "examples per second of the input pipeline alone (order, padding and batching in this process) over "
    "those of training the default model: forward, backward, clipping and update in a plain loop over "
    "prepared batches"
)
TARGETS = {"examples/s": Target(at_least=5)}
OVERRIDES = ("data=tweets", "trainer.threads=1")


def measure(rounds: int = 5, cells: tuple[str, ...] = ("gru",), limit: int | None = None) -> Result:
    """Run the benchmark, on `limit` texts if it is given."""
    result = Result("input_pipeline", QUESTION, {"overrides": list(OVERRIDES), "rounds": rounds}, TARGETS)
    for cell in cells:
        few = [] if limit is None else [f"data.limit={limit}"]
        cfg = compose(make_loader(CONF), ["recipe=none", *OVERRIDES, f"model={cell}", *few])
        pl.seed_everything(cfg.seed, verbose=False)
        data = load_data(cfg)
        module = build_module(cfg, data)
        batches = list(data.train_dataloader())
        optimizer = module.configure_optimizers()

        def read() -> None:
            for _ in data.train_dataloader():  # noqa: B023  called within this iteration
                pass

        def train() -> None:
            epoch(module, optimizer, batches, cfg.trainer.gradient_clip_val)  # noqa: B023

        seconds = interleaved({"train": train, "read": read}, rounds)
        compared = ratio(np.array(seconds["train"]), np.array(seconds["read"]))
        result.add(cell, "examples/s", compared)
    return result


def epoch(module: SequenceTask, optimizer: Optimizer, batches: Iterable[Batch], clip: float) -> None:
    """Train on each of the batches once."""
    module.model.train()
    for batch in batches:
        optimizer.zero_grad()
        module.objective.loss(module.model(batch).values, batch.targets).mean().backward()
        nn.utils.clip_grad_norm_(module.model.parameters(), clip)
        optimizer.step()
