"""Builds the callbacks of the `instruments` config group."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from gatescope.data.datamodule import SequenceData
from gatescope.instruments.base import ProbeInstrument, UpdateInstrument
from gatescope.instruments.callback_base import Sink
from gatescope.instruments.probe_callback import ProbeCallback
from gatescope.instruments.update_callback import UpdateCallback
from gatescope.sequences import Batch, Split


def instrument_callbacks(settings: DictConfig, data: SequenceData, sink: Sink) -> list[pl.Callback]:
    """Build the callbacks of the `instruments` config group.

    Args:
        settings: the config group.
        data: the data; its seed draws the fixed batch.
        sink: takes the measurements.
    """
    instruments = {name: instantiate(reader) for name, reader in settings.readers.items()}
    update_instruments = {n: i for n, i in instruments.items() if isinstance(i, UpdateInstrument)}
    probe_instruments = {n: i for n, i in instruments.items() if isinstance(i, ProbeInstrument)}
    callbacks: list[pl.Callback] = []
    if update_instruments:
        callbacks.append(UpdateCallback(update_instruments, settings.every_n_steps, sink))
    if probe_instruments:
        batch = probe_batch(data, settings.examples)
        train = partial(probe_batch, data, split="train")
        every, alignment = settings.every_n_steps, data.alignment("validation", batch)
        callbacks.append(
            ProbeCallback(probe_instruments, batch, data.tokens(batch), every, sink, alignment, train)
        )
    return callbacks


def probe_batch(data: SequenceData, examples: int, split: Split = "validation") -> Batch:
    """Draw a fixed batch of at most so many examples of a split, by the seed of the data."""
    assert data.splits is not None
    total = len(getattr(data.splits, split))
    subset = np.random.default_rng(data.seed).choice(total, min(examples, total), replace=False)
    return data.batch(split, sorted(subset.tolist()))
