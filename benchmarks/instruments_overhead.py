"""Cost of the instruments, relative to a training epoch without them."""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from benchmarks.result import Result, Target
from benchmarks.timing import ratio
from gatescope.data.datamodule import SequenceData
from gatescope.instruments.callbacks import instrument_callbacks
from gatescope.run import build_module, load_data
from gatescope.tracking.lifecycle import track_run
from gatescope.training.trainer import make_trainer

CONF = Path(__file__).resolve().parents[1] / "conf"
QUESTION = (
    "seconds of Trainer.fit over one epoch (training, validation, checkpoint, offline W&B, and the "
    "measurements at its start and end), with instruments over without. wall: elapsed time; cpu: processor "
    "time of this process, which other processes disturb less"
)
TARGETS = {
    "default, wall": Target(at_most=1.05),
    "full, wall": Target(at_most=1.25),
    "default, cpu": Target(at_most=1.05),
    "full, cpu": Target(at_most=1.25),
}
VARIANTS = ("off", "default", "full")


def measure(rounds: int = 7, overrides: tuple[str, ...] = (), cells: tuple[str, ...] = ("gru",)) -> Result:
    """Run the benchmark; each variant starts from the same weights, with the same data in the same order."""
    result = Result(
        "instruments_overhead", QUESTION, {"overrides": list(overrides), "rounds": rounds}, TARGETS
    )
    for cell in cells:
        seconds = epochs(cell, rounds, overrides)
        for variant in VARIANTS[1:]:
            for clock, by_variant in seconds.items():
                compared = ratio(by_variant[variant], by_variant["off"])
                result.add(f"tweets, {cell}" if not overrides else cell, f"{variant}, {clock}", compared)
    return result


def epochs(cell: str, rounds: int, overrides: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Return the seconds by clock and variant, (rounds,) each, after one round that warms up."""
    data = load_data(config("off", cell, overrides, Path("unused")))
    seconds: dict[str, dict[str, list[float]]] = {c: {v: [] for v in VARIANTS} for c in ("wall", "cpu")}
    for turn in range(rounds + 1):
        for variant in VARIANTS if turn % 2 else reversed(VARIANTS):
            wall, cpu = epoch(cell, variant, overrides, data)
            if turn:
                seconds["wall"][variant].append(wall)
                seconds["cpu"][variant].append(cpu)
    return {clock: {v: np.array(s) for v, s in by_variant.items()} for clock, by_variant in seconds.items()}


def epoch(cell: str, variant: str, overrides: tuple[str, ...], data: SequenceData) -> tuple[float, float]:
    """Return wall-clock and processor seconds of one epoch, in a temporary run."""
    with tempfile.TemporaryDirectory() as root:
        cfg = config(variant, cell, overrides, Path(root))
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        with track_run(cfg) as tracking:
            module = build_module(cfg, data)
            probes = instrument_callbacks(cfg.instruments, data, tracking.log_measurements)
            directory = tracking.record.directory
            trainer = make_trainer(cfg, data.task, directory, tracking.loggers, probes)
            # Lightning stores its Trainer in the data module.
            own_data = copy.copy(data)
            wall, cpu = time.perf_counter(), time.process_time()
            trainer.fit(module, datamodule=own_data)
            return time.perf_counter() - wall, time.process_time() - cpu


def config(variant: str, cell: str, overrides: tuple[str, ...], root: Path) -> DictConfig:
    """Compose the config of a run with these instruments."""
    given: Any = [
        f"root={root}",
        f"model={cell}",
        f"instruments={variant}",
        "data=tweets",
        "tracking=offline",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        *overrides,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["recipe=none", *given])
