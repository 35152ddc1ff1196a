"""The two base classes of instruments. An instrument needs no Trainer: it maps values to measurements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from gatescope.instruments.measurements import Measurements
from gatescope.instruments.probe import Probe
from gatescope.models.encoder import SequenceModel
from gatescope.models.traces import LayerPass


@dataclass
class Update:
    """One update of the weights in training.

    Attributes:
        step: number of updates, this one included.
        model: the model after the update.
        before: gradients by parameter name, unscaled and before clipping.
        after: gradients by parameter name, after clipping.
        delta: change of each parameter, by name.
        clip_at: the clipping threshold; None without clipping.
        clipped_share: share of the updates since the last `Update` in which gradients were clipped.
        layers: gates and ∂L/∂state of each recurrent layer in the training pass, where an instrument sets
            `reads_layers`. With accumulated gradients: of the last batch. Under DDP: of this process.
    """

    step: int
    model: SequenceModel
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    delta: dict[str, Tensor]
    clip_at: float | None
    clipped_share: float
    layers: dict[str, LayerPass] = field(default_factory=dict)


class ProbeInstrument(ABC):
    """An instrument that measures the model on a fixed batch.

    It is called at step 0, at the cadence of the config, at the end of training and for the tested weights.
    """

    more_if_tested: ClassVar[bool] = False
    """Whether it measures more where `Probe.tested` is true. Otherwise, where the tested weights are the last
    ones, the measurements of these are used again."""

    @abstractmethod
    def read(self, probe: Probe) -> Measurements:
        """Return the measurements of one probe, by name."""


class UpdateInstrument(ABC):
    """An instrument that measures an update of the weights in training."""

    reads_layers: ClassVar[bool] = False
    """Whether the instrument reads `Update.layers`."""

    @abstractmethod
    def read(self, update: Update) -> Measurements:
        """Return the measurements of one update, by name."""
