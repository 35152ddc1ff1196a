"""What the instruments cost a whole training epoch."""

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

from benchmarks.result import Bar, Result
from benchmarks.timing import ratio
from gatescope.data.datamodule import SequenceData
from gatescope.instruments.callbacks import instrument_callbacks
from gatescope.run import build_module, load_data
from gatescope.tracking.lifecycle import track_run
from gatescope.training.trainer import make_trainer

CONF = Path(__file__).resolve().parents[1] / "conf"
QUESTION = (
    "seconds of Trainer.fit over one epoch (training, validation, checkpoint, offline W&B, and the looks at "
    "its start and end) with instruments over without. wall: elapsed; cpu: this process' processor time, "
    "which other processes on the machine disturb less"
)
BARS = {
    "default, wall": Bar(at_most=1.05),
    "full, wall": Bar(at_most=1.25),
    "default, cpu": Bar(at_most=1.05),
    "full, cpu": Bar(at_most=1.25),
}
VARIANTS = ("off", "default", "full")


def measure(rounds: int = 7, overrides: tuple[str, ...] = (), cells: tuple[str, ...] = ("gru",)) -> Result:
    """Each variant starts from the same weights on the same data in the same order."""
    result = Result("instruments_overhead", QUESTION, {"overrides": list(overrides), "rounds": rounds}, BARS)
    for cell in cells:
        seconds = epochs(cell, rounds, overrides)
        for variant in VARIANTS[1:]:
            for clock, by_variant in seconds.items():
                found = ratio(by_variant[variant], by_variant["off"])
                result.add(f"tweets, {cell}" if not overrides else cell, f"{variant}, {clock}", found)
    return result


def epochs(cell: str, rounds: int, overrides: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Seconds by clock and variant, (rounds,) each; one round more goes before, to warm up."""
    data = load_data(config("off", cell, overrides, Path("unused")))
    seconds: dict[str, dict[str, list[float]]] = {c: {v: [] for v in VARIANTS} for c in ("wall", "cpu")}
    for turn in range(rounds + 1):
        for variant in VARIANTS if turn % 2 else reversed(VARIANTS):
            wall, cpu = epoch(cell, variant, overrides, data)
            if turn:
                seconds["wall"][variant].append(wall)
                seconds["cpu"][variant].append(cpu)
    return {clock: {v: np.array(s) for v, s in found.items()} for clock, found in seconds.items()}


def epoch(cell: str, variant: str, overrides: tuple[str, ...], data: SequenceData) -> tuple[float, float]:
    """Wall and processor seconds of one epoch, in a run of its own that is thrown away."""
    with tempfile.TemporaryDirectory() as root:
        cfg = config(variant, cell, overrides, Path(root))
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        with track_run(cfg) as tracking:
            module = build_module(cfg, data)
            probes = instrument_callbacks(cfg.instruments, data, tracking.log_measurements)
            directory = tracking.record.directory
            trainer = make_trainer(cfg, data.task, directory, tracking.loggers, probes)
            # Lightning hangs its Trainer on the datamodule.
            lent = copy.copy(data)
            wall, cpu = time.perf_counter(), time.process_time()
            trainer.fit(module, datamodule=lent)
            return time.perf_counter() - wall, time.process_time() - cpu


def config(variant: str, cell: str, overrides: tuple[str, ...], root: Path) -> DictConfig:
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
        return compose("config", given)
