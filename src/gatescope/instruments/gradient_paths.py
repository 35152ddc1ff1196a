"""The paths of a gradient: through the gates, straight from the readout, and from each later loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State, join, split
from gatescope.cells.tensors import reverse_within
from gatescope.instruments.adjoint_norms import log_norm
from gatescope.instruments.lag_curves import lag_logs
from gatescope.instruments.measurements import Heatmap, Measurement, Scalar, Undefined, scalar
from gatescope.instruments.probe import Probe
from gatescope.instruments.recursion import longest, take
from gatescope.models.traces import LayerTrace
from gatescope.sequences import valid_mask


def gate_path_share(keep: Tensor | None, v: Tensor, full: Tensor, lengths: Tensor) -> Measurement:
    """Return ‖∏ keep ⊙ v‖ / ‖full product‖ by lag.

    Args:
        keep: (B, T, H), or None for a cell without such a gate.
        v: (B, H), the vector at the last state.
        full: (B, T), log norm of vᵀ ∂state_T/∂state by lag.
        lengths: (B,).
    """
    if keep is None:
        return Undefined("the cell has no gate that keeps its state")
    beyond = torch.arange(full.shape[1], device=full.device) >= lengths[:, None]
    if bool(((full == -torch.inf) & ~beyond).any()):
        return Undefined("dead: the full product is exactly 0 at some lag")
    by_lag = reverse_within(keep, lengths).double()
    log_products = by_lag.clamp_min(torch.finfo(torch.float32).tiny).log().cumsum(1)
    initial = v.double().abs().log()
    path = torch.cat([initial[:, None], initial[:, None] + log_products[:, :-1]], dim=1)
    share = lag_logs((2 * path).logsumexp(-1) / 2 - full, lengths)
    return share if isinstance(share, Undefined) else share.curve("‖∏ keep ⊙ v‖ / ‖full product‖")


def shortcut_share(name: str, output_grad: Tensor, probe: Probe) -> Scalar | Undefined:
    """Return the mean share of the gradient that comes straight from the readout, not through time.

    The mean of ‖d_t‖ / (‖d_t‖ + ‖a_t − d_t‖) over the steps before the last one that a gradient reaches, with
    d_t = ∂L/∂output_t and a_t the adjoint: 0 to 1.

    Args:
        name: name of a layer of the top.
        output_grad: (B, T, H), ∂L/∂output of that layer, in its time order.
        probe: the probe.
    """
    steps = output_grad.shape[1]
    earlier = valid_mask(probe.batch.lengths - 1, steps)
    if not bool(earlier.any()):
        return Undefined("every sequence has one step: there is no lag to measure")
    if not bool((output_grad.abs().amax(-1) * earlier).any()):
        if bool(output_grad.any()):
            return Scalar(0.0)
        return Undefined("the loss does not depend on the states")
    straight = output_grad[earlier].norm(dim=-1)
    through_time = (probe.adjoints[name].h[earlier] - output_grad[earlier]).norm(dim=-1)
    share = straight / (straight + through_time)
    reached = (straight + through_time) > 0
    return scalar(share[reached].mean().item(), "overflow in the adjoint")


def lag_contributions(
    cell: RecurrentLayer, saved: dict[str, Tensor], output_grad: Tensor, lags: int
) -> Iterator[State]:
    """Compute the gradient at state_t of the loss at step t + k alone, for all t at once.

    The sum over all k is the adjoint.

    Args:
        cell: the layer.
        saved: as returned by `cell.linearise`.
        output_grad: (B, T, H), ∂L/∂output.
        lags: number of lags.

    Yields:
        The gradient (B, T, H) for k = 0 … lags − 1.
    """
    state_grad = join(State(output_grad, torch.zeros_like(output_grad) if cell.has_memory_cell else None))
    prepared, end = cell.prepare_vjp(saved), torch.zeros_like(state_grad[:, :1])
    for lag in range(lags):
        if lag:
            # The gradient at state_{t+1} passes through step t + 1 to state_t.
            state_grad = torch.cat([cell.state_vjp(state_grad, prepared)[:, 1:], end], dim=1)
        yield cell.total(split(cell, state_grad), saved)


def lag_map(layer: LayerTrace, output_grad: Tensor, lags: int, examples: int) -> Heatmap | Undefined:
    """Return ‖(∂state_{t+k}/∂state_t)ᵀ ∂L/∂output_{t+k}‖ by lag k and step t.

    Values are geometric means over examples, without norms of 0; 0 where all norms are 0.

    Args:
        layer: a layer of the top.
        output_grad: (B, T, H), ∂L/∂output of that layer, in its time order.
        lags: number of lags.
        examples: number of examples, the longest.
    """
    steps = output_grad.shape[1]
    lags = min(lags, steps)
    rows = longest(layer, examples)
    subset = take(layer, rows)
    saved = layer.cell.linearise(subset.x, subset.states)
    contributions = lag_contributions(layer.cell, saved, output_grad[rows], lags)
    logs = torch.stack([log_norm(join(total)) for total in contributions])
    if bool((logs.isnan() | (logs == torch.inf)).any()):
        return Undefined("overflow in the adjoint")
    finite = logs.isfinite()
    mean = logs.masked_fill(~finite, 0).sum(1) / finite.sum(1).clamp_min(1)
    values = mean.exp().masked_fill(~finite.any(1), 0)
    x, y = [str(t) for t in range(steps)], [str(k) for k in range(lags)]
    return Heatmap(values.tolist(), x, y, "step", "lag (steps)")
