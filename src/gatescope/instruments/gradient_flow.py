"""Gradients through time: how the gradient at earlier states decays with the lag.

See docs/instruments.md, "Measurements on gradients". Sources: Hochreiter 1991; Bengio et al. 1994; Pascanu et
al. 2013.
"""

from __future__ import annotations

import logging
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.state import State, split
from gatescope.instruments.adjoint_norms import LOSS_FREE, RELATIVE, adjoint_logs, last_state_adjoint
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.decay import state_measurements
from gatescope.instruments.gradient_paths import gate_path_share, lag_map, shortcut_share
from gatescope.instruments.lag_curves import LagLogs
from gatescope.instruments.measurements import Measurements, Scalar, Undefined
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.instruments.recursion import random_units, state_size
from gatescope.instruments.self_test import TOLERANCE, adjoint_error, memory_error
from gatescope.models.traces import LayerTrace

log = logging.getLogger(__name__)


class GradientFlow(ProbeInstrument):
    """Curves of the gradient at the states by lag, their decay, and the paths of the gradient.

    Under `gradient_flow/<layer>/`. The lag is counted back from each sequence's last step, in the time order
    of the layer, in steps. The state is (h, c) for a cell with a memory cell. Means over examples are
    geometric.

    - `vanishing_curve`: ‖∂L/∂state_{T−k}‖ relative to lag 0, for the gradient that enters at the last step
      of the top layer alone. In a lower layer it has passed through the layers above. Below a bidirectional
      layer the gradients of both directions mix at every step; use the loss-free curve there.
    - `loss_free_curve`: ‖vᵀ ∂state_T/∂state_{T−k}‖ relative to lag 0, for a random unit vector v at the last
      state of this layer, through its own recurrence. It does not depend on the loss and can be compared
      before and after training.
    - `…_h`, `…_c`: the same for the parts of the state of a cell with a memory cell.
    - `decay_rate` (nats a step), `half_life` (steps), `reach` (steps), `reach_censored`: see
      `decay.rate_measurements`; with the prefix `loss_free_` for the loss-free curve.
    - `dead_share`, `exploded_share`: share of examples with a gradient of exactly 0 at a lag up to `fit_to`,
      or with an overflow; both are left out of means. Where half are dead, or any has exploded, there is no
      decay rate.
    - `underflow_lag`: first lag at which the gradient of some example is exactly 0, if there is one.
    - `shortcut_share` (top layers): see `gradient_paths.shortcut_share`.
    - `gate_path_share`: ‖∏ keep ⊙ v‖ / ‖vᵀ ∂m_T/∂m_{T−k}‖ by lag, with m the memory cell c, or h without one.
    - `lag_map` (top layers): ‖(∂state_{t+k}/∂state_t)ᵀ ∂L/∂output_{t+k}‖ by lag k and step t.
    - `gradient_flow/self_test`, `memory_error`: relative errors, see `self_test`.

    Args:
        fit_from: smallest lag of the fit of the decay rate.
        fit_to: largest lag of the fit.
        epsilon: relative norm that defines the reach.
        seed: seed of the random vectors.
        self_test: whether to run the self-test.
        gate_path: whether to measure `gate_path_share`.
        lags: number of lags of the lag map; 0 to leave it out.
        map_examples: number of examples of the lag map, the longest.
    """

    def __init__(
        self,
        fit_from: Annotated[int, Field(ge=0)] = 1,
        fit_to: Annotated[int, Field(ge=1)] = 50,
        epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.01,
        seed: Annotated[int, Field(ge=0)] = 0,
        self_test: bool = True,
        gate_path: bool = False,
        lags: Annotated[int, Field(ge=0)] = 0,
        map_examples: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        self.fit, self.epsilon, self.seed = (fit_from, fit_to), epsilon, seed
        self.self_test, self.gate_path = self_test, gate_path
        self.lags, self.map_examples = lags, map_examples

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure the gradients of one probe."""
        if not probe.layers:
            return {"gradient_flow/self_test": Undefined("the model has no recurrent layer")}
        with undisturbed(probe.model):
            last = probe.last_output_grad
            adjoints = probe.model.stack.adjoint(
                probe.layers, None, last=last, renormalise=True, inputs=self.self_test
            )
            measurements: Measurements = {}
            for name, layer in probe.layers.items():
                prefix = f"gradient_flow/{name}/"
                logs = adjoint_logs(adjoints[name], layer)
                measurements |= self._curves(prefix, "vanishing", logs, probe)
                measurements |= self._loss_free(prefix, name, layer, probe)
            for name, output_grad in probe.top_output_grads.items():
                measurements |= self._top_layer(f"gradient_flow/{name}/", name, output_grad, probe)
            if self.self_test:
                measurements |= self._self_test(probe, last, adjoints)
        return measurements

    def _curves(self, prefix: str, kind: str, logs: dict[str, Tensor], probe: Probe) -> Measurements:
        """Measure the curves of the state and its parts, and the rates of the whole state."""
        label, rates = (RELATIVE, prefix) if kind == "vanishing" else (LOSS_FREE, f"{prefix}{kind}_")
        measurements, relative = state_measurements(
            f"{prefix}{kind}_curve", rates, logs, probe.batch.lengths, label, self.fit, self.epsilon
        )
        if isinstance(relative, LagLogs) and (zero := relative.zero_lag()) is not None:
            measurements[f"{rates}underflow_lag"] = Scalar(float(zero))
        return measurements

    def _loss_free(self, prefix: str, name: str, layer: LayerTrace, probe: Probe) -> Measurements:
        """Measure the loss-free curves, and the share of the gate path."""
        shape = (2 if self.gate_path else 1, len(layer.x), state_size(layer.cell))
        vectors = random_units(shape, layer.states.h, self.seed)
        logs = adjoint_logs(last_state_adjoint(layer, split(layer.cell, vectors[0])), layer)
        measurements = self._curves(prefix, "loss_free", logs, probe)
        if self.gate_path:
            whole = split(layer.cell, vectors[1])
            v = whole.h if whole.c is None else whole.c
            at_memory = State(v) if whole.c is None else State(torch.zeros_like(v), v)
            logs = adjoint_logs(last_state_adjoint(layer, at_memory), layer)
            full = logs["state" if whole.c is None else "c"]
            keep = probe.gates[name].get("keep")
            share = gate_path_share(keep, v, full, probe.batch.lengths)
            measurements[f"{prefix}gate_path_share"] = share
        return measurements

    def _top_layer(self, prefix: str, name: str, output_grad: Tensor, probe: Probe) -> Measurements:
        measurements: Measurements = {f"{prefix}shortcut_share": shortcut_share(name, output_grad, probe)}
        if self.lags:
            layer = probe.layers[name]
            measurements[f"{prefix}lag_map"] = lag_map(layer, output_grad, self.lags, self.map_examples)
        return measurements

    def _self_test(self, probe: Probe, last: Tensor, adjoints: dict[str, Adjoint]) -> Measurements:
        """Run the self-tests; log a warning for each error above the tolerance."""
        measurements: Measurements = {"gradient_flow/self_test": adjoint_error(probe, last, adjoints)}
        for name, layer in probe.layers.items():
            measurements |= memory_error(name, layer)
        for name, measurement in measurements.items():
            if isinstance(measurement, Scalar) and measurement.value > TOLERANCE:
                log.warning("%s = %.2g at step %d: above %g", name, measurement.value, probe.step, TOLERANCE)
        return measurements
