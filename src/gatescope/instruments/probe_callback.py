"""The callback that runs probe instruments during training and after the test."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.callback_base import InstrumentCallback, Sink, is_due
from gatescope.instruments.measurements import TESTED, Measurements
from gatescope.instruments.probe import Loss, Probe, probe_model
from gatescope.models.encoder import SequenceModel
from gatescope.sequences import Batch
from gatescope.training.best_checkpoint import tested_step_and_epoch
from gatescope.training.memory import OutOfMemory, is_out_of_memory
from gatescope.training.out_of_memory import instrument_message
from gatescope.training.timing import add_overhead


class ProbeCallback(InstrumentCallback):
    """Runs probe instruments on a fixed batch, without changing the model.

    It measures at step 0, at the cadence, at the end of training and after the test. The names of the last
    begin with `tested/`, and their step is the number of updates of the tested weights.

    Args:
        instruments: instruments by name.
        batch: the fixed batch.
        tokens: the tokens of each sequence; None for features.
        every_n_steps: cadence in updates; None for powers of two.
        sink: takes the measurements.
        alignment: (B, U, T) bool, the source steps of each target step; None where unknown.
        train: returns at most so many examples of the train split.
    """

    def __init__(
        self,
        instruments: Mapping[str, ProbeInstrument],
        batch: Batch,
        tokens: list[list[str]] | None,
        every_n_steps: int | None,
        sink: Sink,
        alignment: Tensor | None = None,
        train: Callable[[int], Batch] | None = None,
    ) -> None:
        super().__init__(instruments, every_n_steps, sink)
        self.batch, self.tokens, self.alignment, self.train = batch, tokens, alignment, train
        self._measurements: Measurements = {}
        self._loss: Loss

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Measure before the first update; a resumed run has been measured already."""
        if self._last is None:
            self._measure_once(trainer, module)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Measure at the cadence."""
        if is_due(trainer.global_step, self.every_n_steps):
            self._measure_once(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Measure after the last update."""
        self._measure_once(trainer, module)

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Measure the tested weights, or send their measurements again where they were the last ones."""
        step, epoch = tested_step_and_epoch(trainer)
        more = any(instrument.more_if_tested for instrument in self.instruments.values())
        if step == self._last and self._measurements and not more:
            self._send(self._measurements, step, epoch, TESTED)
        else:
            with torch.inference_mode(False), torch.enable_grad():  # Lightning tests in inference mode
                self._probe(module, step, epoch, TESTED)

    def _measure_once(self, trainer: pl.Trainer, module: Any) -> None:
        """Measure, unless this step has been measured."""
        step = trainer.global_step
        if self._last != step:
            self._last = step
            self._measurements = self._probe(module, step, trainer.current_epoch)

    def _probe(self, module: Any, step: int, epoch: int, prefix: str = "") -> Measurements:
        if not self.instruments:
            return {}
        with add_overhead(self):
            model, loss = module.model, module.objective.training_loss
            if any(p.dtype != torch.float32 for p in model.parameters()):
                model = copy.deepcopy(model).float()  # training in double or half precision
            self._loss, size = loss, len(self.batch.lengths)
            try:
                probe = self._probe_examples(model, step, size, prefix == TESTED)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                what, attempt = f"the pass of the instruments at step {step}", self._probe_examples
                message = instrument_message(what, error, lambda count: attempt(model, step, count), size)
                raise OutOfMemory(message) from error
            return self._measure(probe, step, epoch, prefix)

    def _probe_examples(self, model: SequenceModel, step: int, count: int, tested: bool = False) -> Probe:
        """Return the probe of the first `count` examples."""
        probe = probe_model(model, Batch(*(part[:count] for part in self.batch)), self._loss, step)
        probe.tokens = None if self.tokens is None else self.tokens[:count]
        probe.alignment = None if self.alignment is None else self.alignment[:count]
        probe.tested, probe.train = tested, self.train
        return probe

    def _memory_message(self, instrument: ProbeInstrument, subject: Probe, error: Exception) -> str:
        """Return the message of an instrument that exhausts the memory, with a size that fits."""

        def attempt(count: int) -> None:
            instrument.read(self._probe_examples(subject.model, subject.step, count, subject.tested))

        return instrument_message("it", error, attempt, len(subject.batch.lengths))
