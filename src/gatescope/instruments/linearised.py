"""A layer run with its step replaced by the linear one about the nearest fixed point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatescope.cells.state import join
from gatescope.instruments.fixed_points import Map
from gatescope.models.traces import LayerTrace


@dataclass(frozen=True)
class Linearisation:
    """First-order expansions of a map at P points.

    Attributes:
        step: the map.
        points: (P, n).
        images: (P, n), F at the points.
        jacobians: (P, n, n), ∂F/∂s.
        input_jacobians: (P, n, D), ∂F/∂x.
    """

    step: Map
    points: Tensor
    images: Tensor
    jacobians: Tensor
    input_jacobians: Tensor


def linearise(step: Map, points: Tensor) -> Linearisation:
    """Expand a map at points (P, n) and its constant input."""
    return Linearisation(step, points, step(points), step.jacobian(points), step.input_jacobian(points))


@torch.no_grad()
def run_linearised(linear: Linearisation, layer: LayerTrace) -> Tensor:
    """Run a layer over its inputs, at each step with the expansion at the point nearest to the state.

    s_t = F(s*, x̄) + J (s_{t−1} − s*) + B (x_t − x̄)

    Args:
        linear: the expansions.
        layer: the layer, whose initial state and inputs are used.

    Returns:
        The hidden states h (B, T, H), in the time order of the layer; 0 at padding.
    """
    x = layer.x.double() - linear.step.x
    state = join(layer.states.initial).double()
    hidden = []
    for x_t in x.unbind(1):
        nearest = torch.cdist(state, linear.points).argmin(1)
        change = (linear.jacobians[nearest] @ (state - linear.points[nearest])[..., None])[..., 0]
        drive = (linear.input_jacobians[nearest] @ x_t[..., None])[..., 0]
        state = linear.images[nearest] + change + drive
        hidden.append(state[:, : layer.cell.hidden_size])
    h = torch.stack(hidden, dim=1).to(layer.states.h.dtype)
    mask = layer.states.mask
    return h if mask is None else h.masked_fill(~mask[..., None], 0)
