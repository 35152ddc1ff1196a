"""What can be read of recorded layers: gates, states, gradients, and every instrument, with labels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.state import split
from gatescope.instruments.adjoint_norms import RELATIVE, adjoint_logs, last_state_adjoint
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.decay import state_measurements
from gatescope.instruments.measurements import Measurement, Measurements, Scalar, Undefined
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.instruments.recursion import random_units, state_size
from gatescope.models.traces import LayerTrace
from gatescope.sequences import valid_mask
from gatescope.watching.labelled import DIMS, Labelled, LabelledGroup

if TYPE_CHECKING:
    import pandas as pd

FIT, EPSILON, SEED = (1, 50), 0.01, 0
"""Lags of the fit of a decay rate, relative norm that defines the reach, and seed of random vectors: as by
default in `gatescope.instruments.gradient_flow.GradientFlow`."""


class Layers(Protocol):
    """The recorded layers of one module."""

    @property
    def traces(self) -> Mapping[str, LayerTrace]:
        """The forward pass of each layer and direction, by name."""

    @property
    def adjoints(self) -> Mapping[str, Adjoint]:
        """The exact ∂L/∂state, by name, in the time order of the layer."""

    def h(self, name: str) -> Tensor:
        """Return the states h (B, T, H) in the time order of the input."""

    def h_grad(self, name: str) -> Tensor:
        """Return ∂L/∂h (B, T, H) in the time order of the input."""


class Readings(ABC):
    """Gates, states and gradients of the recorded layers of one module.

    Args:
        name: name of the module.
        examples: labels of the examples; their indices by default.
        steps: labels of the steps; their indices by default.
    """

    def __init__(
        self, name: str, examples: Sequence[Any] | None = None, steps: Sequence[Any] | None = None
    ) -> None:
        self.name, self._examples, self._steps = name, examples, steps

    @property
    @abstractmethod
    def layers(self) -> Layers:
        """What was recorded."""

    @abstractmethod
    def probe(self) -> Probe:
        """Return what was recorded in the form that instruments read."""

    @cached_property
    def _gates(self) -> dict[str, dict[str, Tensor]]:
        with torch.no_grad():
            traces = self.layers.traces.items()
            return {name: trace.cell.gates(trace.x, trace.states) for name, trace in traces}

    @cached_property
    def gates(self) -> LabelledGroup:
        """Gates by name, at every state: `reset`, `update`, `keep` and `candidate` of a GRU, and so on.

        `update` is the share of the new candidate that is written, `keep` the share of the old state that is
        kept: the z of torch's GRU is `keep`.
        """
        names = next(iter(self._gates.values()))
        aligned = {
            gate: {
                layer: self.layers.traces[layer].align_time(self._gates[layer][gate]) for layer in self._gates
            }
            for gate in names
        }
        return self._group("gates", aligned)

    @cached_property
    def states(self) -> LabelledGroup:
        """The hidden states "h", and the memory cells "c" of a cell that has them."""
        found = {"h": {name: self.layers.h(name) for name in self.layers.traces}}
        memories = self._memories()
        return self._group("states", found | ({"c": memories} if memories else {}))

    def _memories(self) -> dict[str, Tensor]:
        memories = {}
        with torch.no_grad():
            for name, trace in self.layers.traces.items():
                if (c := trace.cell.memory(trace.x, trace.states)) is not None:
                    memories[name] = trace.align_time(c)
        return memories

    @cached_property
    def state_gradients(self) -> LabelledGroup:
        """The exact gradient of the loss at every state: "h", ∂L/∂h_t, and "c", ∂L/∂c_t.

        It is the derivative in full: through the output at step t, and through every later state.

        Raises:
            WatchError: no backward pass has reached the module.
        """
        self.check_gradient()
        adjoints = self.layers.adjoints
        found = {"h": {name: self.layers.h_grad(name) for name in adjoints}}
        cells = {
            name: self.layers.traces[name].align_time(adjoint.c)
            for name, adjoint in adjoints.items()
            if adjoint.c is not None
        }
        return self._group("state_gradients", found | ({"c": cells} if cells else {}))

    @abstractmethod
    def check_gradient(self) -> None:
        """Check that there are gradients; raises WatchError where there are none."""

    def _group(self, what: str, arrays: dict[str, dict[str, Tensor]]) -> LabelledGroup:
        return LabelledGroup(
            f"{what} of {self.name}", {name: self._labelled(name, parts) for name, parts in arrays.items()}
        )

    def _labelled(self, name: str, parts: dict[str, Tensor]) -> Labelled:
        """Return arrays (B, T, H) of each layer and direction as one."""
        directions = [d for d in ("forward", "backward") if d in {direction(layer) for layer in parts}]
        stacked = torch.stack([values.detach() for values in parts.values()])
        values = stacked.unflatten(0, (-1, len(directions)))
        lengths = next(iter(self.layers.traces.values())).lengths
        valid = valid_mask(lengths, values.shape[3])[..., None]
        if not bool(valid.all()):
            values = values.masked_fill(~valid, math.nan)
        layers, _, batch, steps, units = values.shape
        coords = {
            "layer": range(layers),
            "direction": directions,
            "example": self._examples or range(batch),
            "step": self._steps or range(steps),
            "unit": range(units),
        }
        return Labelled(name, values, DIMS, coords)

    def read(self, *instruments: ProbeInstrument, attention: Tensor | None = None) -> Measurements:
        """Return what instruments of `gatescope.instruments` measure of the module, by name.

        Args:
            *instruments: such as `JacobianNorms()`, `LyapunovSpectrum()` or `Retention()`.
            attention: for `AttentionStatistics()`, the weights of the states, (B, heads, T) or (B, T).
        """
        probe = self.probe()
        if attention is not None:
            probe.attention = (attention if attention.dim() == 3 else attention[:, None]).detach()
        measurements: Measurements = {}
        for instrument in instruments:
            measurements |= instrument.read(probe)
        return measurements

    def gradient_measurements(self, layer: str, loss_free: bool = False) -> Measurements:
        """Return curve, decay rate, half-life and reach of the gradient at the states of one layer.

        Args:
            layer: name of the layer, "layer0" or "layer0_backward".
            loss_free: a random unit vector at the last state takes the place of the gradient of the loss.
        """
        trace = self.layers.traces[layer]
        with torch.no_grad():
            if loss_free:
                shape = (1, len(trace.x), state_size(trace.cell))
                v = split(trace.cell, random_units(shape, trace.states.h, SEED)[0])
                with undisturbed(trace.cell):
                    adjoint = last_state_adjoint(trace, v)
            else:
                self.check_gradient()
                adjoint = self.layers.adjoints[layer]
            logs = adjoint_logs(adjoint, trace)
            return state_measurements("curve", "", logs, trace.lengths, RELATIVE, FIT, EPSILON)[0] | {
                "norm": lag_zero_norm(logs["state"])
            }

    def vanishing_curve(self, loss_free: bool = False) -> pd.DataFrame:
        """Return how the gradient at earlier states decays with the lag; see `Scope.vanishing_curve`.

        Raises:
            WatchError: there is no gradient at the last state of any layer, for the reason in the message.
        """
        from gatescope.watching.tables import curve_table  # imports pandas

        return curve_table(self, loss_free)

    def summary(self) -> pd.DataFrame:
        """Return a row for each layer and direction.

        Returns:
            Columns: `module`, `layer`, `direction`, `cell`, `units`; the mean of each gate (0 to 1);
            `saturated`, the share of values of `keep` below 0.1 or above 0.9, of a cell without gates of |h|
            above 0.9; `timescale`, median over units of −1 / mean ln keep, in steps; `gradient_norm`,
            ‖∂L/∂state‖ at the last step (geometric mean over examples); `half_life` and `reach` of that
            gradient, in steps (without a backward pass: of the loss-free one).
        """
        from gatescope.watching.tables import summary_table  # imports pandas

        return summary_table(self)

    @property
    def has_gradient(self) -> bool:
        """Whether a backward pass has reached the module."""
        return True


def direction(layer: str) -> str:
    """Return the direction of a layer by its name."""
    return "backward" if layer.endswith("_backward") else "forward"


def lag_zero_norm(logs: Tensor) -> Measurement:
    """Return the geometric mean over examples of the norm at lag 0."""
    finite = logs[:, 0][logs[:, 0].isfinite()]
    if not len(finite):
        return Undefined("dead: no gradient at the last state")
    return Scalar(finite.mean().exp().item())
