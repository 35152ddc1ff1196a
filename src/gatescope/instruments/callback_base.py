"""The base class of the callbacks that run instruments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

from gatescope.instruments.measurements import Measurements
from gatescope.training.memory import is_out_of_memory
from gatescope.training.out_of_memory import instrument_message

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
            except Exception as error:
                self._disable(name, step, error, subject)
        self._send(measurements, step, epoch, prefix)
        return measurements

    def _send(self, measurements: Measurements, step: int, epoch: int, prefix: str = "") -> None:
        if measurements:
            self.sink({f"{prefix}{name}": one for name, one in measurements.items()}, step, epoch)

    def _disable(self, name: str, step: int, error: Exception, subject: Any = None) -> None:
        message = "instrument %s failed at step %d and is switched off"
        if is_out_of_memory(error):
            reason = self._memory_message(self.instruments[name], subject, error)
            log.warning("%s: %s", message % (name, step), reason)
        else:
            log.warning(message, name, step, exc_info=error)
        del self.instruments[name]
        self.disabled.append(name)

    def _memory_message(self, instrument: Any, subject: Any, error: Exception) -> str:
        """Return the message of an instrument that exhausts the memory."""
        return instrument_message("it", error)
