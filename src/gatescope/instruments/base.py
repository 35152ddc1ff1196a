"""The two kinds of instrument. Each is a pure object: values in, Readings out, tested without a Trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from gatescope.instruments.measurements import Measurements
from gatescope.instruments.probe import Probe
from gatescope.models.encoder import SequenceModel
from gatescope.models.stack import LayerPass


@dataclass
class Update:
    """One optimiser step as training took it, by parameter name: gradients unscaled and before clipping,
    after clipping, and the measured change of the weights; `clipped` says whether clipping acted."""

    step: int
    model: SequenceModel
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    delta: dict[str, Tensor]
    clip_at: float | None
    clipped_share: float
    """Share of the steps since the last Update in which clipping acted."""
    layers: dict[str, LayerPass] = field(default_factory=dict)
    """What the pass itself left (with accumulated gradients its last batch, under DDP this process' share),
    where an instrument says that it reads it."""


class ProbeInstrument(ABC):
    """Reads a Probe: the model on a fixed batch, at step 0, at a cadence and at the end."""

    @abstractmethod
    def read(self, probe: Probe) -> Measurements: ...


class UpdateInstrument(ABC):
    """Reads an Update: what training itself did to the parameters."""

    reads_layers: ClassVar[bool] = False
    """Whether it reads `Update.layers`."""

    @abstractmethod
    def read(self, update: Update) -> Measurements: ...
