"""Which steps of an input reach which states: norms of the Jacobians ∂h_t/∂x_s, as numbers.

Source: Madsen 2019, "Visualizing memorization in RNNs" (connectivity).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatescope.models.encoder import SequenceModel
from gatescope.models.traces import LayerTrace


@torch.no_grad()
def connections(model: SequenceModel, embedded: Tensor, lengths: Tensor, last: bool = False) -> Tensor:
    """Compute the Frobenius norm of ∂h_t/∂x_s for every pair of steps of one example.

    h_t is the state of the top layer, of both directions where there are two, and x_s the embedded input.
    The gradient of every unit at every step is the exact adjoint of the whole stack, so that the time is that
    of T backward passes of H sequences.

    Args:
        model: the model, in eval mode.
        embedded: (1, T, D), the embedded input.
        lengths: (1,), its number of steps, T.
        last: whether only the last state is of interest.

    Returns:
        (T, T), with t in rows and s in columns; 0 where t does not depend on s. Only the last
        row, (T,), with `last`.
    """
    size, steps = model.stack.output_size, embedded.shape[1]
    unit = torch.arange(size, device=embedded.device)
    states, traces = model.stack.trace(embedded.expand(size, -1, -1).contiguous(), lengths.expand(size))
    rows = []
    for t in range(steps - 1 if last else 0, steps):
        gradient = torch.zeros_like(states)
        gradient[unit, t, unit] = 1
        rows.append(_at_inputs(model, traces, gradient).double().square().sum((0, 2)).sqrt())
    return rows[0] if last else torch.stack(rows)


def _at_inputs(model: SequenceModel, traces: dict[str, LayerTrace], gradient: Tensor) -> Tensor:
    """Return the gradient at the embedded input (B, T, D) of one at the states of the top layer."""
    adjoints = model.stack.adjoint(traces, gradient, inputs=True)
    bottom = list(traces)[: model.stack.directions]
    return torch.stack([traces[name].align_time(adjoints[name].inputs) for name in bottom]).sum(0)
