"""Fixed points and slow points of a cell at a constant input (Sussillo & Barak 2013; Golub & Sussillo 2018).

A state is whole: h, or h and c side by side for a cell with a memory cell. With F the step of the cell at the
input x, q(s) = ½‖F(s) − s‖² is minimised from states on trajectories, for all of them at once, in float64, by
the Levenberg–Marquardt method with the exact Jacobian of the cell.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import States, join, split
from gatescope.instruments.recursion import state_size

FIRST_DAMPING = 1e-3
"""Damping of the first step, relative to the mean of the squared entries of a row of J − I."""
LEAST_DAMPING = 1e-12
LARGEST_DAMPING = 1e6
"""A point that this damping does not improve is at a minimum of q."""
LONGEST_STEP = 0.1
"""Longest step of the method, relative to the spread of the starts: a point ends near its start."""
LEAST_GAIN = 1e-6
"""Relative decrease of q in a step below which a point is at a minimum."""
CHUNK_BYTES = 200_000_000
"""Memory for the Jacobians of the points that are moved at once."""


class Map:
    """The step s -> F(s) of a cell at a constant input, in float64.

    Args:
        cell: the cell, which stays unchanged.
        x: (D,), the input.
    """

    def __init__(self, cell: RecurrentLayer, x: Tensor) -> None:
        # By value: a parameter need not be a leaf, and tensors of some devices have no deepcopy.
        doubled: dict[int, Any] = {id(one): nn.Parameter(one.detach().double()) for one in cell.parameters()}
        doubled |= {id(one): one.detach().double() for one in cell.buffers()}
        self.cell = copy.deepcopy(cell, doubled).eval()
        self.x = x.detach().double()
        self.size = state_size(cell)

    @torch.no_grad()
    def __call__(self, states: Tensor, x: Tensor | None = None) -> Tensor:
        """Return F(s) of states (N, n), at inputs x (N, D) where they are given."""
        inputs = self.x.expand(len(states), -1) if x is None else x
        return join(self.cell.step(inputs, split(self.cell, states)))

    @torch.no_grad()
    def jacobian(self, states: Tensor) -> Tensor:
        """Return ∂F/∂s (N, n, n) by the cell's own vector-Jacobian product; [i, a, b] is ∂F_a/∂s_b."""
        inputs = self.x.expand(len(states), 1, -1)
        h, c = split(self.cell, self(states))
        one_step = States(h[:, None], split(self.cell, states), None, None if c is None else c[:, None])
        saved = self.cell.prepare_vjp(self.cell.linearise(inputs, one_step))
        prepared = {name: values[:, 0] for name, values in saved.items()}
        rows = self._identity(states)[:, None].expand(-1, len(states), -1)
        return self.cell.state_vjp(rows.contiguous(), prepared).transpose(0, 1)

    def input_jacobian(self, states: Tensor) -> Tensor:
        """Return ∂F/∂x (N, n, D) at the constant input, by autograd through the step."""
        rows = self._identity(states)
        results = []
        for state in states:
            x = self.x.expand(self.size, -1).clone().requires_grad_()
            with torch.enable_grad():
                repeated = split(self.cell, state.expand(self.size, -1))
                (gradient,) = torch.autograd.grad(join(self.cell.step(x, repeated)), x, rows)
            results.append(gradient)
        return torch.stack(results) if results else states.new_zeros(0, self.size, len(self.x))

    def _identity(self, like: Tensor) -> Tensor:
        return torch.eye(self.size, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class FixedPoints:
    """What a search has found.

    Attributes:
        states: (P, n), points with q at most the tolerance, without duplicates and outliers; those with the
            most duplicates come first.
        q: (P,), q of each of them.
        starts: number of starts.
        reached: number of starts whose point is among `states`, or a duplicate of one.
        outliers: number of starts whose point was an outlier.
        minima: number of starts that ended at a local minimum of q above the tolerance.
    """

    states: Tensor
    q: Tensor
    starts: int
    reached: int
    outliers: int
    minima: int


def find_fixed_points(
    step: Map,
    starts: Tensor,
    tolerance: float,
    iterations: int = 50,
    distance: float = 1e-2,
    outlier: float = 3.0,
    spread: float | None = None,
    damping: float = LEAST_DAMPING,
) -> FixedPoints:
    """Find the points at which a map is as good as at rest.

    A point stays where its q first is at most the tolerance. On an approximate line of fixed points the
    points thus keep their distance from each other and do not run to the few exact ones.

    Args:
        step: the map.
        starts: (N, n), states on trajectories.
        tolerance: largest q of a point; its speed ‖F(s) − s‖ a step is then at most √(2 · tolerance).
        iterations: most steps of the method.
        distance: points nearer to each other than this times the spread count as one.
        outlier: a point farther from the mean of the starts than this times the spread is dropped.
        spread: a length; the root of the starts' mean squared distance from their mean if None.
        damping: least damping. From about 1e-3 on, a point moves little along directions in which the map is
            slow, and ends on a slow line near its start.
    """
    starts = starts.detach().double()
    centre = starts.mean(0)
    spread = spread or spread_of(starts) or 1.0
    rows = max(1, CHUNK_BYTES // (8 * step.size**2))
    longest = LONGEST_STEP * spread
    parts = [minimise(step, part, tolerance, iterations, longest, damping) for part in starts.split(rows)]
    states, q, stuck = (torch.cat(values) for values in zip(*parts, strict=True))
    found = q <= tolerance
    far = found & ((states - centre).norm(dim=1) > outlier * spread)
    kept = found & ~far
    first = distinct(states[kept], distance * spread)
    return FixedPoints(
        states[kept][first],
        q[kept][first],
        starts=len(starts),
        reached=int(kept.sum()),
        outliers=int(far.sum()),
        minima=int((stuck & ~found).sum()),
    )


def spread_of(states: Tensor) -> float:
    """Return the root of the mean squared distance of states (N, n) from their mean."""
    return float((states - states.mean(0)).square().sum(1).mean().sqrt())


def minimise(
    step: Map, states: Tensor, tolerance: float, iterations: int, longest_step: float, least_damping: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Minimise q from each state by the Levenberg–Marquardt method, with a damping of its own.

    Args:
        step: the map.
        states: (N, n).
        tolerance: q at which a state stays.
        iterations: most steps.
        longest_step: longest step.
        least_damping: as in `find_fixed_points`.

    Returns:
        The states (N, n), q of each (N,), and whether it is at a minimum of q (N,) bool.
    """
    states = states.clone()
    q = energy(step, states)
    damping = torch.full_like(q, max(FIRST_DAMPING, least_damping))
    stuck = torch.zeros_like(q, dtype=torch.bool)
    identity = torch.eye(step.size, dtype=states.dtype, device=states.device)
    for _ in range(iterations):
        active = ((q > tolerance) & ~stuck & q.isfinite()).nonzero()[:, 0]
        if not len(active):
            break
        s = states[active]
        slope = step.jacobian(s) - identity
        scale = damping[active] * slope.square().sum((1, 2)) / step.size
        normal = slope.mT @ slope + scale[:, None, None] * identity
        # A singular system gives no finite step, which counts as no improvement and is damped.
        change = torch.linalg.solve_ex(normal, slope.mT @ (step(s) - s)[..., None]).result[..., 0]
        length = torch.linalg.vector_norm(change, dim=1, keepdim=True)
        moved = s - change * (longest_step / length.clamp_min(longest_step))
        new_q = energy(step, moved)
        better = new_q < q[active]
        gain = 1 - new_q / q[active]
        states[active] = torch.where(better[:, None], moved, s)
        q[active] = torch.where(better, new_q, q[active])
        factor = torch.where(better, 0.1, 10.0).to(damping)
        damping[active] = (damping[active] * factor).clamp(least_damping, LARGEST_DAMPING)
        stuck[active] = (better & (gain < LEAST_GAIN)) | (~better & (damping[active] >= LARGEST_DAMPING))
    return states, q, stuck


def energy(step: Map, states: Tensor) -> Tensor:
    """Return q(s) = ½‖F(s) − s‖² of states (N, n): (N,)."""
    return 0.5 * (step(states) - states).square().sum(-1)


def distinct(points: Tensor, distance: float) -> Tensor:
    """Return the indices of points (N, n) of which no two are nearer than a distance.

    Points with the most neighbours are kept first; a later one is kept if no kept one is near.
    """
    if not len(points):
        return torch.zeros(0, dtype=torch.long, device=points.device)
    near = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") <= distance
    free = torch.ones(len(points), dtype=torch.bool, device=points.device)
    kept = []
    for i in near.sum(1).argsort(descending=True, stable=True).tolist():
        if free[i]:
            kept.append(i)
            free &= ~near[i]
    return torch.tensor(kept, device=points.device)
