"""The learning signal that the optimiser itself has just used: a by-product of the training step.

The probe asks a fixed batch, without dropout, about the loss at the last step. This asks the batch of the
step about the whole loss, with dropout: a native kernel's own walk back has computed ∂L/∂state, so that
reading it costs next to nothing; other kernels' states are walked back once more (INSTRUMENTS.md §2).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.cells.state import last_index
from gatescope.instruments.base import Update, UpdateInstrument
from gatescope.instruments.gates import recorded_as
from gatescope.instruments.gradient_flow import RELATIVE, adjoint_logs
from gatescope.instruments.lag_curves import state_measurements
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.models.stack import LayerPass
from gatescope.sequences import valid_mask


class TrainingSignal(UpdateInstrument):
    """`training_signal/<layer>/…`, of one training batch, lag counted back from each sequence's last step:

    - `curve` (and `curve_h`, `curve_c` of a cell with a memory cell): ‖∂L/∂state_t‖ relative to lag 0, L the
      loss that was minimised, wherever it enters; `decay_rate`, `half_life`, `reach`, `reach_censored`,
      `dead_share` and `exploded_share` as the probe's vanishing curve has them.
    - `norm`: the geometric mean over examples of ‖∂L/∂state‖ at lag 0, which `curve` is relative to.
    - `gate/<gate>`: mean over units and valid positions; a forget gate stands under `keep`, as in
      `GateStatistics`.

    Args:
        fit_from, fit_to: lags over which the decay rate is fitted.
        epsilon: the relative norm that `reach` asks for.
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
        if not update.layers:
            why = "no gradient came through a recurrent layer, or trainer.compile hides what passes"
            return {"training_signal/curve": Undefined(why)}
        measurements: Measurements = {}
        for name, layer in update.layers.items():
            measurements |= self._signal(f"training_signal/{name}/", layer)
            measurements |= _gates(f"training_signal/{name}/gate/", layer)
        return measurements

    def _signal(self, prefix: str, layer: LayerPass) -> Measurements:
        lengths = last_index(layer.trace.states) + 1
        logs = adjoint_logs(layer.adjoint, layer.trace)
        measurements, _ = state_measurements(
            f"{prefix}curve", prefix, logs, lengths, RELATIVE, self.fit, self.epsilon
        )
        return measurements | {f"{prefix}norm": _geometric_mean(logs["state"][:, 0])}


def _geometric_mean(logs: Tensor) -> Scalar | Undefined:
    finite = logs[logs > -torch.inf]
    if not len(finite):
        return Undefined("dead: the loss does not depend on the last state, its gradient is exactly 0")
    return scalar(finite.mean().exp().item(), "exploded: overflow in the adjoint")


def _gates(prefix: str, layer: LayerPass) -> Measurements:
    h = layer.trace.states.h
    mask = valid_mask(last_index(layer.trace.states) + 1, h.shape[1])
    return {
        f"{prefix}{recorded_as(name, layer.gates)}": scalar(
            layer.gates[name][mask].mean().item(), "the gates are not finite"
        )
        for name in layer.trace.cell.gate_names
    }
