"""Examples per second of the predictions of a trained model, on a GPU and on the CPU."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from benchmarks.gpu_result import RESULTS, Case, GPUResult, device_of, run_cases
from benchmarks.gpu_timing import timed
from benchmarks.one_core import cores
from gatescope.loading import load
from gatescope.run import run
from gatescope.trained import Answer, ModelInput, Trained

CONF = Path(__file__).resolve().parents[1] / "conf"
QUESTION = (
    "predictions of a loaded model for a list of inputs, from encoding to answers, on all cores and on the "
    "card. per_second: examples; ratio: per_second of the card over that of the CPU"
)
BATCHES = (1, 64, 1024)
HIDDEN = (64, 512)
SMALL = ("data=adding", "data.steps=8", "data.train=16", "data.validation=8", "data.test=8")
WORDS = 16
"""Words of a text, as many as the median of the tweets."""


def measure(
    device: str = "cuda",
    seconds: float = 20.0,
    out: Path = RESULTS,
    after: int = 0,
    overrides: tuple[str, ...] | None = None,
    batches: tuple[int, ...] = BATCHES,
    hidden: tuple[int, ...] | None = None,
) -> GPUResult:
    """Run the benchmark."""
    where = device_of(device)
    gpu = where.type == "cuda"
    overrides = (() if gpu else SMALL) if overrides is None else overrides
    hidden = hidden or (HIDDEN if gpu else (5,))
    torch.set_num_threads(cores())
    settings = {"overrides": list(overrides), "hidden": list(hidden), "threads": cores()}
    result = GPUResult("gpu_predict", QUESTION, settings, device=device, seconds=seconds)
    return run_cases(result, list(cases(result, where, overrides, batches, hidden)), out, after)


def cases(
    result: GPUResult,
    device: torch.device,
    overrides: tuple[str, ...],
    batches: tuple[int, ...],
    hidden: tuple[int, ...],
) -> Iterator[Case]:
    """Yield one case for each number of hidden units and batch size."""
    trained = cache(partial(model, *overrides))
    for units in hidden:
        for size in batches:
            add = partial(add_row, result, device, trained, units, size)
            yield Case(f"gru, H={units}, batch of {size}", add)


def add_row(
    result: GPUResult, device: torch.device, trained: Callable[[str], Trained], hidden: int, size: int
) -> None:
    """Measure a batch size of a model and add its row."""
    given = trained(f"model.hidden_size={hidden}")
    inputs = examples(given, size)
    rates = []
    for where in (device, torch.device("cpu")):
        given.model.to(where)
        rates.append(size / timed(partial(answers, given, inputs, where), where).median)
    values = {"hidden": hidden, "batch": size, "per_second": rates[0], "per_second_cpu": rates[1]}
    result.add_value(f"gru, H={hidden}", f"batch of {size}", rates[0] / rates[1], **values)


def answers(trained: Trained, inputs: list[ModelInput], device: torch.device) -> list[Answer]:
    """Return what `Trained.predict` returns, on a device."""
    return trained.answers(trained.encode(inputs).to(device))


def model(*overrides: str) -> Trained:
    """Return the model of a run of one training step on the CPU."""
    given: Any = [
        *overrides,
        "trainer.max_steps=1",
        "trainer.enable_progress_bar=false",
        "instruments=off",
        "tracking=off",
    ]
    with tempfile.TemporaryDirectory() as root:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", ["recipe=none", *given, f"root={root}"])
        return load(run(cfg).directory)


def examples(trained: Trained, count: int) -> list[ModelInput]:
    """Return texts of words of the vocabulary, or random features of the longest training sequence."""
    task = trained.task
    if task.inputs == "tokens":
        draw = random.Random(0)
        words = [word for word in task.vocabulary if word.isalpha()]
        return [" ".join(draw.choices(words, k=WORDS)) for _ in range(count)]
    torch.manual_seed(0)
    return list(torch.rand(count, trained.longest, task.input_size))
