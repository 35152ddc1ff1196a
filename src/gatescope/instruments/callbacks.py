"""From training to the instruments: a Probe at step 0, at a cadence, at the end, and of the tested weights;
Updates."""

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
from gatescope.instruments.probe import look
from gatescope.models.stack import LayerPass
from gatescope.sequences import Batch
from gatescope.training.housekeeping import counted_as_overhead
from gatescope.training.loop import tested_at

log = logging.getLogger(__name__)

Sink = Callable[[Measurements, int, int], None]
"""(readings, step, epoch): where readings go."""


def due(step: int, every_n_steps: int | None) -> bool:
    """Whether a look is due: at multiples of the cadence, or at powers of two when there is none."""
    if step == 0:
        return True
    return step & (step - 1) == 0 if every_n_steps is None else step % every_n_steps == 0


class InstrumentCallback(pl.Callback):
    """Reads with each instrument; one that raises is reported once and switched off, and training goes on."""

    def __init__(self, instruments: Mapping[str, Any], every_n_steps: int | None, sink: Sink) -> None:
        self.instruments = dict(instruments)
        self.every_n_steps, self.sink = every_n_steps, sink
        self.off: list[str] = []
        self.overhead_seconds = 0.0
        self._last: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"last": self._last, "off": self.off}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where it was: an instrument that was switched off stays so."""
        self._last, self.off = state_dict["last"], list(state_dict["off"])
        self.instruments = {name: i for name, i in self.instruments.items() if name not in self.off}

    def _read(self, subject: Any, step: int, epoch: int, prefix: str = "") -> Measurements:
        measurements: Measurements = {}
        for name, instrument in list(self.instruments.items()):
            try:
                measurements |= instrument.read(subject)
            except Exception:
                self._switch_off(name, step)
        self._send(measurements, step, epoch, prefix)
        return measurements

    def _send(self, measurements: Measurements, step: int, epoch: int, prefix: str = "") -> None:
        if measurements:
            self.sink({f"{prefix}{name}": one for name, one in measurements.items()}, step, epoch)

    def _switch_off(self, name: str, step: int) -> None:
        log.warning("instrument %s failed at step %d and is switched off", name, step, exc_info=True)
        del self.instruments[name]
        self.off.append(name)


class ProbeCallback(InstrumentCallback):
    """Looks at the model on a fixed batch; changes nothing of it.

    Names of the look at the tested weights begin with `tested/`; its step is the number of updates that these
    weights have had.
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
        if self._last is None:  # a resumed run had its first look
            self._look(trainer, module)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if due(trainer.global_step, self.every_n_steps):
            self._look(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._look(trainer, module)

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        step, epoch = tested_at(trainer)
        if step == self._last and self._measurements:  # these weights were looked at already
            self._send(self._measurements, step, epoch, TESTED)
        else:
            with torch.inference_mode(False), torch.enable_grad():  # Lightning tests in inference mode
                self._probe(module, step, epoch, TESTED)

    def _look(self, trainer: pl.Trainer, module: Any) -> None:
        step = trainer.global_step
        if self._last != step:
            self._last = step
            self._measurements = self._probe(module, step, trainer.current_epoch)

    def _probe(self, module: Any, step: int, epoch: int, prefix: str = "") -> Measurements:
        if not self.instruments:
            return {}
        with counted_as_overhead(self):
            batch, model = self.batch.to(module.device), module.model
            if any(p.dtype != torch.float32 for p in model.parameters()):
                model = copy.deepcopy(model).float()  # of a run in double or half precision
            probe = look(model, batch, module.objective.loss, step)
            probe.tokens, probe.alignment = self.tokens, self.alignment
            return self._read(probe, step, epoch, prefix)


class UpdateCallback(InstrumentCallback):
    """Watches the optimiser's step: gradients before and after clipping, and what the weights really did."""

    def __init__(
        self, instruments: Mapping[str, UpdateInstrument], every_n_steps: int | None, sink: Sink
    ) -> None:
        super().__init__(instruments, every_n_steps, sink)
        self._before: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        self._layers: dict[str, LayerPass] = {}
        self._last = (0, 0)

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        if self._readers_of_layers() and self._due(trainer):
            module.model.stack.recorded = {}

    def _readers_of_layers(self) -> list[str]:
        return [name for name, one in self.instruments.items() if one.reads_layers]

    def _due(self, trainer: pl.Trainer) -> bool:
        """Of the first update, and of those after which a look is due."""
        update = trainer.global_step + 1
        return bool(self.instruments) and (update == 1 or due(update, self.every_n_steps))

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Optimizer) -> None:
        if not self._due(trainer):
            return
        with counted_as_overhead(self):
            try:
                self._layers = module.model.stack.collect_gradients()
            except Exception:
                for name in self._readers_of_layers():
                    self._switch_off(name, trainer.global_step)
            named = list(module.named_parameters())
            self._before = {name: p.grad.detach().clone() for name, p in named if p.grad is not None}
            self._weights = {name: p.detach().clone() for name, p in named}

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        if self._before:
            with counted_as_overhead(self):
                self._read_update(trainer, module)

    def _read_update(self, trainer: pl.Trainer, module: Any) -> None:
        parameters = dict(module.named_parameters())
        step, clipped = trainer.global_step, int(module.clipped_steps)
        update = Update(
            step=step,
            model=module.model,
            before=_local(self._before),
            after=_local({n: p.grad.detach() for n, p in parameters.items() if p.grad is not None}),
            delta=_local({n: parameters[n].detach() - w for n, w in self._weights.items()}),
            clip_at=trainer.gradient_clip_val,
            clipped_share=(clipped - self._last[1]) / (step - self._last[0]),
            layers=self._layers,
        )
        self._before, self._weights, self._layers, self._last = {}, {}, {}, (step, clipped)
        self._read(update, step, trainer.current_epoch)


def _local(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as the Encoder knows its parameters, without the LightningModule's prefix."""
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def instrument_callbacks(settings: DictConfig, data: SequenceData, sink: Sink) -> list[pl.Callback]:
    """The callbacks of the `instruments` config group, with a fixed probe batch drawn by the data's seed."""
    readers = {name: instantiate(reader) for name, reader in settings.readers.items()}
    updates = {n: r for n, r in readers.items() if isinstance(r, UpdateInstrument)}
    probes = {n: r for n, r in readers.items() if isinstance(r, ProbeInstrument)}
    callbacks: list[pl.Callback] = []
    if updates:
        callbacks.append(UpdateCallback(updates, settings.every_n_steps, sink))
    if probes:
        batch = probe_batch(data, settings.examples)
        known = data.tokens(batch), settings.every_n_steps, sink, data.alignment("validation", batch)
        callbacks.append(ProbeCallback(probes, batch, *known))
    return callbacks


def probe_batch(data: SequenceData, examples: int) -> Batch:
    """A fixed batch of the validation split."""
    assert data.splits is not None
    total = len(data.splits.validation)
    chosen = np.random.default_rng(data.seed).choice(total, min(examples, total), replace=False)
    return data.batch("validation", sorted(chosen.tolist()))
