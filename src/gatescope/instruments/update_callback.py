"""The callback that runs update instruments during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer

from gatescope.instruments.base import Update, UpdateInstrument
from gatescope.instruments.callback_base import InstrumentCallback, Sink, is_due
from gatescope.models.traces import LayerPass
from gatescope.training.timing import add_overhead


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
            except Exception as error:
                for name in self._instruments_of_layers():
                    self._disable(name, trainer.global_step, error)
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
