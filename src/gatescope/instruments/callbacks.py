"""The callbacks that run instruments during training."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer

from gatescope.data.datamodule import SequenceData
from gatescope.instruments.base import ProbeInstrument, Update, UpdateInstrument
from gatescope.instruments.measurements import TESTED, Measurements
from gatescope.instruments.probe import probe_model
from gatescope.models.traces import LayerPass
from gatescope.sequences import Batch
from gatescope.training.best_checkpoint import tested_step_and_epoch
from gatescope.training.timing import add_overhead

log = logging.getLogger(__name__)

Sink = Callable[[Measurements, int, int], None]
"""(measurements, step, epoch): takes the measurements of one step."""


def is_due(step: int, every_n_steps: int | None) -> bool:
    """Return whether to measure at a step: at multiples of the cadence, without one at powers of two."""
    if step == 0:
        return True
    return step & (step - 1) == 0 if every_n_steps is None else step % every_n_steps == 0


class InstrumentCallback(pl.Callback):
    """Base class of the callbacks: runs instruments and passes their measurements on.

    An instrument that raises an exception is reported once and disabled; training continues.

    Args:
        instruments: instruments by name.
        every_n_steps: cadence in updates; None for powers of two.
        sink: takes the measurements.
    """

    def __init__(self, instruments: Mapping[str, Any], every_n_steps: int | None, sink: Sink) -> None:
        self.instruments = dict(instruments)
        self.every_n_steps, self.sink = every_n_steps, sink
        self.disabled: list[str] = []
        self.overhead_seconds = 0.0
        self._last: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return the last measured step and the names of disabled instruments."""
        return {"last": self._last, "off": self.disabled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; a disabled instrument stays disabled."""
        self._last, self.disabled = state_dict["last"], list(state_dict["off"])
        self.instruments = {name: i for name, i in self.instruments.items() if name not in self.disabled}

    def _measure(self, subject: Any, step: int, epoch: int, prefix: str = "") -> Measurements:
        """Run every instrument on a Probe or an Update."""
        measurements: Measurements = {}
        for name, instrument in list(self.instruments.items()):
            try:
                measurements |= instrument.read(subject)
            except Exception:
                self._disable(name, step)
        self._send(measurements, step, epoch, prefix)
        return measurements

    def _send(self, measurements: Measurements, step: int, epoch: int, prefix: str = "") -> None:
        if measurements:
            self.sink({f"{prefix}{name}": one for name, one in measurements.items()}, step, epoch)

    def _disable(self, name: str, step: int) -> None:
        log.warning("instrument %s failed at step %d and is switched off", name, step, exc_info=True)
        del self.instruments[name]
        self.disabled.append(name)


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
    """

    def __init__(
        self,
        instruments: Mapping[str, ProbeInstrument],
        batch: Batch,
        tokens: list[list[str]] | None,
        every_n_steps: int | None,
        sink: Sink,
        alignment: Tensor | None = None,
    ) -> None:
        super().__init__(instruments, every_n_steps, sink)
        self.batch, self.tokens, self.alignment = batch, tokens, alignment
        self._measurements: Measurements = {}

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
        if step == self._last and self._measurements:
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
            batch, model = self.batch.to(module.device), module.model
            if any(p.dtype != torch.float32 for p in model.parameters()):
                model = copy.deepcopy(model).float()  # training in double or half precision
            probe = probe_model(model, batch, module.objective.loss, step)
            probe.tokens, probe.alignment = self.tokens, self.alignment
            return self._measure(probe, step, epoch, prefix)


class UpdateCallback(InstrumentCallback):
    """Runs update instruments: records gradients before and after clipping, and the change of the weights."""

    def __init__(
        self, instruments: Mapping[str, UpdateInstrument], every_n_steps: int | None, sink: Sink
    ) -> None:
        super().__init__(instruments, every_n_steps, sink)
        self._before: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        self._layers: dict[str, LayerPass] = {}
        self._last = (0, 0)

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Start recording the pass where an instrument reads the gradients of the layers."""
        if self._instruments_of_layers() and self._is_due(trainer):
            module.model.stack.record_gradients()

    def _instruments_of_layers(self) -> list[str]:
        return [name for name, one in self.instruments.items() if one.reads_layers]

    def _is_due(self, trainer: pl.Trainer) -> bool:
        """Return whether to measure the next update: the first, and those at the cadence."""
        update = trainer.global_step + 1
        return bool(self.instruments) and (update == 1 or is_due(update, self.every_n_steps))

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Optimizer) -> None:
        """Copy gradients and weights before clipping and the update."""
        if not self._is_due(trainer):
            return
        with add_overhead(self):
            try:
                self._layers = module.model.stack.collect_gradients()
            except Exception:
                for name in self._instruments_of_layers():
                    self._disable(name, trainer.global_step)
            named = list(module.named_parameters())
            self._before = {name: p.grad.detach().clone() for name, p in named if p.grad is not None}
            self._weights = {name: p.detach().clone() for name, p in named}

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Measure the update that was recorded."""
        if self._before:
            with add_overhead(self):
                self._measure_update(trainer, module)

    def _measure_update(self, trainer: pl.Trainer, module: Any) -> None:
        parameters = dict(module.named_parameters())
        step, clipped = trainer.global_step, int(module.clipped_steps)
        update = Update(
            step=step,
            model=module.model,
            before=_model_names(self._before),
            after=_model_names({n: p.grad.detach() for n, p in parameters.items() if p.grad is not None}),
            delta=_model_names({n: parameters[n].detach() - w for n, w in self._weights.items()}),
            clip_at=trainer.gradient_clip_val,
            clipped_share=(clipped - self._last[1]) / (step - self._last[0]),
            layers=self._layers,
        )
        self._before, self._weights, self._layers, self._last = {}, {}, {}, (step, clipped)
        self._measure(update, step, trainer.current_epoch)


def _model_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefix of the LightningModule from parameter names."""
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


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
        tokens, alignment = data.tokens(batch), data.alignment("validation", batch)
        callbacks.append(
            ProbeCallback(probe_instruments, batch, tokens, settings.every_n_steps, sink, alignment)
        )
    return callbacks


def probe_batch(data: SequenceData, examples: int) -> Batch:
    """Draw the fixed batch from the validation split, by the seed of the data."""
    assert data.splits is not None
    total = len(data.splits.validation)
    subset = np.random.default_rng(data.seed).choice(total, min(examples, total), replace=False)
    return data.batch("validation", sorted(subset.tolist()))
