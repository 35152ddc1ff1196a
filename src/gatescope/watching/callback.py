"""A Lightning callback that looks inside the recurrent modules of any LightningModule while it trains."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from gatescope.instruments.base import ProbeInstrument, Update
from gatescope.instruments.gates import GateStatistics
from gatescope.instruments.gradient_norms import GradientNorms
from gatescope.instruments.measurements import Measurements, Scalar
from gatescope.watching.errors import WatchError
from gatescope.watching.scope import Scope, find
from gatescope.watching.watched import Watched

log = logging.getLogger(__name__)


class Callback(pl.Callback):
    """Logs gates, gradient flow and gradient norms of every `nn.RNN`, `nn.GRU` and `nn.LSTM`.

    They are logged to every logger of the trainer, whichever it is, as `gatescope/<module>/…`, with the names
    of docs/instruments.md: `gates/<layer>/<gate>/mean`, `gradient_flow/<layer>/half_life`, and so on; and the
    norm of all gradients before and after clipping as `gatescope/gradient_norm/…`. Training does not change
    by a bit. Under DDP the first process measures its own batch.

    Args:
        every_n_steps: cadence in updates of the weights; the first update is measured as well.
        instruments: further instruments of `gatescope.instruments`, such as `JacobianNorms()`.
        prefix: first part of the names.
    """

    def __init__(
        self, every_n_steps: int = 200, instruments: Sequence[ProbeInstrument] = (), prefix: str = "gatescope"
    ) -> None:
        if every_n_steps < 1:
            raise WatchError(f"every_n_steps: given {every_n_steps}; use 1 or more")
        self.every_n_steps, self.prefix = every_n_steps, prefix
        self.instruments = [GateStatistics(), *instruments]
        self._next = 0
        self._scope: Scope | None = None
        self._before: dict[str, Tensor] | None = None
        self._failed: set[str] = set()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that there is something to watch, and where to log it."""
        find(pl_module)
        if not trainer.loggers:
            log.warning("gatescope.Callback: the trainer has no logger, so that nothing is recorded")

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Start watching where a measurement is due."""
        if trainer.global_step >= self._next and self._scope is None and trainer.is_global_zero:
            self._next = (trainer.global_step // self.every_n_steps + 1) * self.every_n_steps
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            self._scope = Scope(pl_module, 1.0 if scaler is None else scaler)
            self._scope.__enter__()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Copy the gradients before they are clipped."""
        if self._scope is not None:
            self._before = gradients(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Measure and log, once the weights were updated."""
        if self._scope is None or self._before is None:
            return
        scope, before = self._stop(), self._before
        self._before = None
        norms = {"before_clip": before, "after_clip": gradients(pl_module)}
        values = {
            f"{self.prefix}/gradient_norm/{name}": nn.utils.get_total_norm(list(parts.values())).item()
            for name, parts in norms.items()
            if parts
        }
        for name, module in find(pl_module).items():
            for key, one in self._measure(name, scope, module, before, pl_module).items():
                if isinstance(one, Scalar):
                    values[f"{self.prefix}/{name}/{key}"] = one.value
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step)

    def _measure(
        self, name: str, scope: Scope, module: nn.RNNBase, before: dict[str, Tensor], model: nn.Module
    ) -> Measurements:
        """Measure one module; a failure is reported once, and training goes on."""
        if name in self._failed:
            return {}
        try:
            watched = scope[name]
            measurements = watched.read(*self.instruments)
            for layer in watched.layers.traces:
                flow = watched.gradient_measurements(layer, loss_free=not watched.has_gradient)
                measurements |= {f"gradient_flow/{layer}/{key}": one for key, one in flow.items()}
            return measurements | gradient_norms(watched, module, before, model)
        except Exception as error:
            self._failed.add(name)
            reason = error if isinstance(error, WatchError) else f"{name}: {type(error).__name__}: {error}"
            log.warning("gatescope.Callback: %s; this module is no longer measured", reason)
            return {}

    def _stop(self) -> Scope:
        scope, self._scope = self._scope, None
        assert scope is not None
        scope.__exit__(None, None, None)
        return scope

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Leave nothing behind."""
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave nothing behind."""
        if self._scope is not None:
            self._stop()
        self._before = None

    def state_dict(self) -> dict[str, Any]:
        """Return when the next measurement is due."""
        return {"next": self._next}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore when the next measurement is due."""
        self._next = state_dict["next"]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the gradients, by parameter name."""
    return {name: p.grad.detach().clone() for name, p in model.named_parameters() if p.grad is not None}


def gradient_norms(
    watched: Watched, module: nn.RNNBase, before: dict[str, Tensor], model: nn.Module
) -> Measurements:
    """Return the norms of the gradients of a module's weights, by layer, group and gate.

    Args:
        watched: what was recorded of the module.
        module: the module.
        before: gradients of the model before clipping, by parameter name.
        model: the model that the module is a part of.
    """
    if module.proj_size:
        return {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if (grad := before.get(names[id(parameter)])) is None:
            continue
        kind, _, place = name.rpartition("_l")
        depth, reverse = place.removesuffix("_reverse"), place.endswith("_reverse")
        layer = f"layer{depth}" + ("_backward" if reverse else "")
        own[f"stack.layers.{layer}.fused.{kind}_l0"] = grad
    found = GradientNorms().read(Update(0, watched.layers.model, own, own, {}, None, 0.0))  # type: ignore[arg-type]
    return {name: one for name, one in found.items() if name.count("/") > 1}
