"""The gradient at the states in a training step, as a by-product of its backward pass.

The probe measures the loss of the last step of a fixed batch, without dropout. This instrument measures the
whole loss of the training batch, with dropout. A native kernel has computed ∂L/∂state in its backward pass,
so that reading it costs almost nothing; for other kernels the adjoint is computed once more
(docs/instruments.md, "Adjoint").
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.instruments.adjoint_norms import RELATIVE, adjoint_logs
from gatescope.instruments.base import Update, UpdateInstrument
from gatescope.instruments.decay import state_measurements
from gatescope.instruments.gates import recorded_name
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.models.traces import LayerPass
from gatescope.sequences import valid_mask


class TrainingSignal(UpdateInstrument):
    """Gradients at the states and gate means of one training batch, under `training_signal/<layer>/`.

    The lag is counted back from each sequence's last step, in steps.

    - `curve` (and `curve_h`, `curve_c` of a cell with a memory cell): ‖∂L/∂state_{T−k}‖ relative to lag 0,
      with L the loss that was minimised, at whatever steps it enters. `decay_rate`, `half_life`, `reach`,
      `reach_censored`, `dead_share`, `exploded_share`: as in `GradientFlow`.
    - `norm`: geometric mean over examples of ‖∂L/∂state‖ at lag 0, which `curve` is relative to.
    - `gate/<gate>`: mean over hidden units and valid positions, 0 to 1; a forget gate is named `keep`, as in
      `GateStatistics`.

    Args:
        fit_from: smallest lag of the fit of the decay rate.
        fit_to: largest lag of the fit.
        epsilon: relative norm that defines the reach.
    """

    reads_layers = True

    def __init__(
        self,
        fit_from: Annotated[int, Field(ge=0)] = 1,
        fit_to: Annotated[int, Field(ge=1)] = 50,
        epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.01,
    ) -> None:
        self.fit, self.epsilon = (fit_from, fit_to), epsilon

    @torch.no_grad()
    def read(self, update: Update) -> Measurements:
        """Measure the layers of one update."""
        if not update.layers:
            why = "no gradient reached a recurrent layer, or trainer.compile=true hides it"
            return {"training_signal/curve": Undefined(why)}
        measurements: Measurements = {}
        for name, layer in update.layers.items():
            measurements |= self._gradients(f"training_signal/{name}/", layer)
            measurements |= _gate_means(f"training_signal/{name}/gate/", layer)
        return measurements

    def _gradients(self, prefix: str, layer: LayerPass) -> Measurements:
        logs = adjoint_logs(layer.adjoint, layer.trace)
        measurements, _ = state_measurements(
            f"{prefix}curve", prefix, logs, layer.trace.lengths, RELATIVE, self.fit, self.epsilon
        )
        return measurements | {f"{prefix}norm": _geometric_mean(logs["state"][:, 0])}


def _geometric_mean(logs: Tensor) -> Scalar | Undefined:
    finite = logs[logs > -torch.inf]
    if not len(finite):
        return Undefined("dead: the loss does not depend on the last state, its gradient is exactly 0")
    return scalar(finite.mean().exp().item(), "exploded: overflow in the adjoint")


def _gate_means(prefix: str, layer: LayerPass) -> Measurements:
    mask = valid_mask(layer.trace.lengths, layer.trace.states.h.shape[1])
    return {
        f"{prefix}{recorded_name(name, layer.gates)}": scalar(
            layer.gates[name][mask].mean().item(), "the gates are not finite"
        )
        for name in layer.trace.cell.gate_names
    }
