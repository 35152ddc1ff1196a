"""Log norms of gradients at the states, by lag."""

from __future__ import annotations

from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.state import State, join
from gatescope.cells.tensors import reverse_within
from gatescope.models.traces import LayerTrace

RELATIVE = "‖∂L/∂state‖ relative to lag 0"
LOSS_FREE = "‖vᵀ ∂state_T/∂state‖ relative to lag 0, v random"


def last_state_adjoint(layer: LayerTrace, v: State) -> Adjoint:
    """Compute vᵀ ∂state_last/∂state_t at every step, through the recurrence of this layer alone.

    Args:
        layer: the layer.
        v: (B, H), the gradient at the last h, and at the last c for a cell with a memory cell.
    """
    return layer.cell.adjoint(layer.x, layer.states, None, last=v, renormalise=True)


def adjoint_logs(adjoint: Adjoint, layer: LayerTrace) -> dict[str, Tensor]:
    """Return log norms by lag, (B, T) float64.

    Args:
        adjoint: the gradient at the states, in the time order of the layer.
        layer: the layer.

    Returns:
        The log norms of the whole state ("state"), and for a cell with a memory cell of "h" and "c".
    """
    lengths = layer.lengths
    return {
        part: reverse_within((log_norm(value) + adjoint.log_scale)[..., None], lengths)[..., 0]
        for part, value in _parts(State(adjoint.h, adjoint.c)).items()
    }


def _parts(state: State) -> dict[str, Tensor]:
    if state.c is None:
        return {"state": state.h}
    return {"state": join(state), "h": state.h, "c": state.c}


def log_norm(values: Tensor) -> Tensor:
    """Return the logarithm of the norm along the last axis, in float64."""
    return values.norm(dim=-1).double().log()
