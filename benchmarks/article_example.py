"""The example of the article, GRU(64) on 100 input features and one sigmoid: this package against Keras."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from benchmarks.one_core import freeze_garbage, has_jax, run_in_turn, serve_in_turn, warn_without_jax
from benchmarks.result import Result, Target
from benchmarks.timing import ratio
from gatescope.instruments.callbacks import instrument_callbacks
from gatescope.run import build_module, load_data
from gatescope.tracking.lifecycle import track_run
from gatescope.training.trainer import make_trainer

CONF = Path(__file__).resolve().parents[1] / "conf"
QUESTION = (
    "GRU of 64 units, sigmoid, Adam, binary cross-entropy, accuracy, batches of 32, one pinned core, with "
    "validation: seconds of Keras' fit (JAX, compiled beforehand) over those of Trainer.fit (Lightning, "
    "record, offline W&B, checkpoint, default instruments) on the same arrays. Each runs in its own process, "
    "and each round in new ones, because speed differs by up to a third between processes. per_second: "
    "training sequences; cpu: processor time, which other processes disturb less"
)
TARGETS = {"Keras + JAX over ours": Target(at_least=1.0)}
KERAS = "Keras + JAX"
WAYS = {
    "ours": "kernel=auto",
    "ours, instruments off": "instruments=off",
    "ours, kernel=torch": "kernel=torch",
}
"""Override of each variant of our training."""
WIDTH, UNITS, BATCH = 100, 64, 32
FILES = {"path": "train", "validation_path": "validation", "test_path": "test"}
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
"""x (N, T, D) and y (N,) by split."""
Fit = Callable[[], tuple[float, float]]
"""Trains, and returns wall-clock seconds and processor seconds."""


def measure(
    rounds: int = 5,
    steps: tuple[int, ...] = (50,),
    train: int = 3200,
    epochs: int = 10,
    ways: tuple[str, ...] = tuple(WAYS),
) -> Result:
    """Run the benchmark.

    Keras only trains and validates; our fit also measures, records and saves the best checkpoint.
    """
    warn_without_jax()
    settings = {"rounds": rounds, "steps": list(steps), "train": train, "epochs": epochs, "batch": BATCH}
    result = Result("article_example", QUESTION, settings, TARGETS)
    for length in steps:
        size = {"steps": length, "train": train, "epochs": epochs}
        compared = (*ways, KERAS) if has_jax() else ways
        found = []
        for turn in range(rounds):
            each = {way: {"way": way, **size} for way in compared[:: 1 if turn % 2 else -1]}
            found.append(run_in_turn("benchmarks.article_example", each))
        seconds = {way: np.array([one[way] for one in found]).T for way in compared}
        case, ours = f"T={length} B={BATCH} D={WIDTH} H={UNITS}", seconds["ours"]
        for way, (wall, _) in seconds.items():
            middle = float(np.median(wall))
            values = {"seconds": middle, "per_second": train * epochs / middle}
            result.add_value(case, way, middle / float(np.median(ours[0])), **values)
        for way in seconds.keys() & {KERAS}:
            result.add(case, f"{way} over ours", ratio(seconds[way][0], ours[0]))
            result.add(case, f"{way} over ours, cpu", ratio(seconds[way][1], ours[1]))
    return result


def fit_of(way: str, steps: int, train: int, epochs: int) -> Fit:
    """Return the fit of one of `WAYS` or of Keras, after a fit that warms up and compiles."""
    given = arrays(steps, train)
    folder = tempfile.TemporaryDirectory()
    fit = keras_fit(given, epochs) if way == KERAS else our_fit(given, epochs, Path(folder.name), WAYS[way])
    fit()
    freeze_garbage()

    def timed() -> tuple[float, float]:
        assert folder  # the files of the arrays must exist as long as they are read
        return fit()

    return timed


def arrays(steps: int, train: int) -> Arrays:
    """Return noise, and which of its first two features has the larger mean."""
    noise = np.random.default_rng(0)
    by_split = {}
    for split, count in (("train", train), ("validation", max(train // 10, 2)), ("test", 2)):
        x = noise.standard_normal((count, steps, WIDTH), dtype=np.float32)
        y = (x[:, :, 0].mean(1) > x[:, :, 1].mean(1)).astype(np.int64)
        y[:2] = 0, 1
        by_split[split] = x, y
    return by_split


def our_fit(given: Arrays, epochs: int, root: Path, *overrides: str) -> Fit:
    """Return a function that makes a run and times its fit."""
    for split, (x, y) in given.items():
        np.savez(root / f"{split}.npz", x=x, y=y)
    data = load_data(config(root, epochs, *overrides))

    def fit() -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as runs:
            cfg = config(root, epochs, *overrides, f"root={runs}")
            pl.seed_everything(cfg.seed, workers=True, verbose=False)
            with track_run(cfg) as tracking:
                probes = instrument_callbacks(cfg.instruments, data, tracking.log_measurements)
                callbacks = [*probes, tracking.checkpoints]
                directory = tracking.record.directory
                trainer = make_trainer(cfg, data.task, directory, tracking.loggers, callbacks)
                module = build_module(cfg, data)
                return timed_call(lambda: trainer.fit(module, datamodule=copy.copy(data)))

    return fit


def config(root: Path, epochs: int, *overrides: str) -> DictConfig:
    """Compose the config of a run; the arrays are files in `root`."""
    given: Any = [
        "data=series_file",
        *(f"data.{name}={root / part}.npz" for name, part in FILES.items()),
        "data.standardise=false",
        f"data.batch_size={BATCH}",
        "model=gru",
        f"model.hidden_size={UNITS}",
        "tracking=offline",
        f"trainer.max_epochs={epochs}",
        "trainer.threads=1",
        "trainer.enable_progress_bar=false",
        *overrides,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["recipe=none", *given])


def keras_fit(given: Arrays, epochs: int) -> Fit:
    """Return a function that times the fit of Keras."""
    import keras

    layers = [
        keras.Input((None, WIDTH)),
        keras.layers.GRU(UNITS),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
    model = keras.Sequential(layers)
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    x, y = given["train"]

    def train() -> None:
        model.fit(x, y, batch_size=BATCH, epochs=epochs, validation_data=given["validation"], verbose=0)

    return lambda: timed_call(train)


def timed_call(train: Callable[[], None]) -> tuple[float, float]:
    """Return wall-clock seconds and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    train()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    serve_in_turn(fit_of)
