"""Time of a training step of a model on a GPU: a plain loop around cuDNN, and ours through Lightning."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import recurrence_speed
from benchmarks.gpu_recurrence import layer_of, use_kernel
from benchmarks.gpu_result import RESULTS, Case, GPUResult, device_of, run_cases
from benchmarks.gpu_timing import synchronise
from benchmarks.recurrence_speed import case_of
from benchmarks.result import Target
from benchmarks.setting import Size
from gatescope.data.datamodule import SequenceData
from gatescope.instruments.callbacks import instrument_callbacks
from gatescope.run import build_module, load_data
from gatescope.tracking.lifecycle import track_run
from gatescope.training.trainer import make_trainer

CONF = Path(__file__).resolve().parents[1] / "conf"
QUESTION = (
    "a training step on delayed recall, mean over a window of steps. bare: nn.Embedding, torch's module, "
    "nn.Linear, clipping and Adam in a plain loop; off: the same model by Trainer.fit with record and "
    "checkpoints, without instruments; default: with the default instruments, which measure once in "
    "the window"
)
SIZES = (*recurrence_speed.SIZES, Size(1024, 16, 768, 768))
SMALL = (Size(6, 4, 3, 5),)
OFF, DEFAULT = "off over bare", "default over off"
TARGETS = {OFF: Target(at_most=1.05), DEFAULT: Target(at_most=1.1)}
MODULES = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
WINDOW = (20, 220)
"""First and last step of the window; it contains step 200, at which the default instruments measure."""


def measure(
    device: str = "cuda",
    seconds: float = 45.0,
    out: Path = RESULTS,
    after: int = 0,
    cells: tuple[str, ...] = ("gru", "lstm"),
    sizes: tuple[Size, ...] | None = None,
    overrides: tuple[str, ...] = (),
    window: tuple[int, int] = WINDOW,
) -> GPUResult:
    """Run the benchmark."""
    where = device_of(device)
    sizes = sizes or (SIZES if device == "cuda" else SMALL)
    overrides = (f"trainer={'gpu' if device == 'cuda' else 'cpu'}", *overrides)
    settings = {
        "sizes": [asdict(size) for size in sizes],
        "overrides": list(overrides),
        "window": list(window),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
    }
    result = GPUResult("gpu_step", QUESTION, settings, TARGETS, device=device, seconds=seconds)
    found = list(cases(result, where, cells, sizes, overrides, window))
    return run_cases(result, found, out, after)


def cases(
    result: GPUResult,
    device: torch.device,
    cells: tuple[str, ...],
    sizes: tuple[Size, ...],
    overrides: tuple[str, ...],
    window: tuple[int, int],
) -> Iterator[Case]:
    """Yield the cases."""
    for cell in cells:
        for kernel in ("torch", "native"):
            for size in sizes:
                name = f"{case_of(cell, size)}, kernel={kernel}"
                given = (result, name, cell, size, kernel, device, overrides, window)
                yield Case(name, partial(add_rows, *given))


def add_rows(
    result: GPUResult,
    name: str,
    cell: str,
    size: Size,
    kernel: str,
    device: torch.device,
    overrides: tuple[str, ...],
    window: tuple[int, int],
) -> None:
    """Measure a size and add its rows.

    Raises:
        NotAvailable: The native kernel does not run here.
    """
    x = torch.zeros(size.batch, size.steps, size.inputs, device=device)
    use_kernel(layer_of(cell, size, x), kernel, x)
    shape = {"cell": cell, "kernel": kernel, **asdict(size)}
    bare = step_in_loop(size, window, device, (f"model={cell}", *overrides))
    overrides = (f"model={cell}", f"kernel={kernel}", *overrides)
    off = step_in_fit(config(size, window, *overrides, "instruments=off"), device, window)
    result.add_value(name, OFF, off / bare, **shape, ms=1e3 * off, bare_ms=1e3 * bare)
    default = step_in_fit(config(size, window, *overrides, "instruments=default"), device, window)
    result.add_value(name, DEFAULT, default / off, **shape, ms=1e3 * default, off_ms=1e3 * off)


class Bare(nn.Module):
    """The model that one would write without this library."""

    def __init__(self, cell: str, symbols: int, classes: int, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, size.inputs)
        self.recurrent = MODULES[cell](size.inputs, size.hidden, batch_first=True)
        self.head = nn.Linear(size.hidden, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits (B, K) of the last state."""
        return self.head(self.recurrent(self.embedding(ids))[0][:, -1])


@cache
def step_in_loop(
    size: Size, window: tuple[int, int], device: torch.device, overrides: tuple[str, ...]
) -> float:
    """Return the seconds of a step of the bare model in a plain loop, with the loader of the same data."""
    cfg = config(size, window, *overrides)
    data: SequenceData = load_data(cfg)
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(cfg.seed)
    model = Bare(cfg.model.name, data.task.input_size, data.task.output_size, size).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.optimizer.lr, fused=True)
    loader = data.train_dataloader()
    loader.pin_memory = device.type == "cuda"  # as the datamodule sets it in a Trainer on a GPU
    times = []
    for number, batch in enumerate(loader):
        if number in window:
            synchronise(device)
            times.append(time.perf_counter())
        if number == window[1]:
            break
        batch = batch.to(device)
        optimizer.zero_grad()
        cross_entropy(model(batch.inputs), batch.targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
    return mean_step(times, window)


class Clock(pl.Callback):
    """Takes the time at the start of the first and the last step of a window."""

    def __init__(self, device: torch.device, window: tuple[int, int]) -> None:
        self.device, self.window, self.times = device, window, []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Take the time."""
        if batch_idx in self.window:
            synchronise(self.device)
            self.times.append(time.perf_counter())


def step_in_fit(cfg: DictConfig, device: torch.device, window: tuple[int, int]) -> float:
    """Return the seconds of a step of `Trainer.fit`, in a temporary run."""
    with tempfile.TemporaryDirectory() as root:
        cfg.root = root
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        data = load_data(cfg)
        with track_run(cfg) as tracking:
            module = build_module(cfg, data)
            probes = instrument_callbacks(cfg.instruments, data, tracking.log_measurements)
            clock = Clock(device, window)
            callbacks = [clock, *probes, tracking.checkpoints]
            directory = tracking.record.directory
            trainer = make_trainer(cfg, data.task, directory, tracking.loggers, callbacks)
            trainer.fit(module, datamodule=data)
    return mean_step(clock.times, window)


def mean_step(times: list[float], window: tuple[int, int]) -> float:
    """Return the seconds of a step of a window.

    Raises:
        RuntimeError: The window was not reached.
    """
    if len(times) != 2:
        raise RuntimeError(f"{len(times)} of 2 times of the window were taken")
    return (times[1] - times[0]) / (window[1] - window[0])


def config(size: Size, window: tuple[int, int], *overrides: str) -> DictConfig:
    """Compose the config of a run that ends just after the window."""
    given: Any = [
        "data=delayed_recall",
        f"data.lag={size.steps - 1}",
        f"data.batch_size={size.batch}",
        f"data.train={size.batch * (window[1] + 1)}",
        f"data.validation={size.batch}",
        "data.test=1",
        f"model.embedding_size={size.inputs}",
        f"model.hidden_size={size.hidden}",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "tracking=off",
        *overrides,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["recipe=none", *given])
