"""The dynamics of a layer: fixed points, their modes, and what they have to do with the task.

Sources: Sussillo & Barak 2013; Maheswaranathan et al. 2019; Aitken et al. 2021. See docs/instruments.md,
"Dynamics".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gatescope.cells.state import State, join
from gatescope.instruments import dynamics_outputs as outputs
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.distributions import valid_rows
from gatescope.instruments.fixed_points import FixedPoints, Map, find_fixed_points, spread_of
from gatescope.instruments.linearised import Linearisation, linearise
from gatescope.instruments.measurements import Curve, Measurements, Scalar, Undefined, scalar
from gatescope.instruments.modes import Modes, modes
from gatescope.instruments.principal import principal
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.models.traces import LayerTrace

FEW = "fewer than 3 points"
NO_POINT = "no start led to a point with q below the tolerance"
SLOW_DAMPING = 1e-3
"""Least damping in the search of slow points, which keeps them from sliding along a slow line."""
EXACT_ITERATIONS = 50
"""Most steps from a slow point to a fixed one."""


@dataclass(frozen=True)
class Analysis:
    """What was found in one layer.

    Attributes:
        layer: the layer.
        states: (N, n), its states at valid positions, float64.
        slow: its slow points.
        exact: its fixed points.
        linear: expansions at some of the slow points.
        modes: their modes.
        readout: (K, n), gradient of each output at the state; None where there is none.
        dimensions: number of dimensions that a decision takes: 1, or the number of classes − 1.
        length: median number of steps of a sequence.
    """

    layer: LayerTrace
    states: Tensor
    slow: FixedPoints
    exact: FixedPoints
    linear: Linearisation
    modes: Modes
    readout: Tensor | None
    dimensions: int
    length: float


class Dynamics(ProbeInstrument):
    """Slow and fixed points of every layer at a constant input, their modes, and the task's part in them.

    During training a few starts are searched from; for the tested weights all of them, and more is measured:
    curves, the plane of states, the effects of words, and the linearised network.

    Args:
        at: the constant input: the mean of the layer's inputs on the fixed batch, or zero.
        drift: largest distance that a slow point moves in a sequence of median length, relative to the
            spread of the states (the root of their mean squared distance from their mean).
        tolerance: largest q = ½‖F(s) − s‖² of a fixed point.
        starts: number of states that the search starts from, at random positions, while training.
        tested_starts: the same for the tested weights.
        iterations: most steps of the search.
        points: most points whose modes are computed.
        train: number of train texts of the logistic regression that word effects are compared with; 0: no
            effects.
        least: least number of occurrences of a word in them.
        walks: number of sequences whose states are recorded in the plane.
        seed: seed of the starts.
    """

    more_if_tested = True

    def __init__(
        self,
        at: Literal["mean", "zero"] = "mean",
        drift: Annotated[float, Field(gt=0)] = 0.05,
        tolerance: Annotated[float, Field(gt=0)] = 1e-10,
        starts: Annotated[int, Field(ge=1)] = 48,
        tested_starts: Annotated[int, Field(ge=1)] = 256,
        iterations: Annotated[int, Field(ge=1)] = 40,
        points: Annotated[int, Field(ge=1)] = 64,
        train: Annotated[int, Field(ge=0)] = 20_000,
        least: Annotated[int, Field(ge=1)] = 20,
        walks: Annotated[int, Field(ge=0)] = 12,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.at, self.drift, self.tolerance, self.iterations = at, drift, tolerance, iterations
        self.starts, self.tested_starts, self.points = starts, tested_starts, points
        self.train, self.least, self.walks, self.seed = train, least, walks, seed

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure every layer of one probe."""
        if not probe.layers:
            return {"dynamics": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        found: dict[str, Analysis] = {}
        with undisturbed(probe.model):
            for name, layer in probe.layers.items():
                prefix = f"dynamics/{name}"
                analysis = self.analyse(probe, name, layer)
                if isinstance(analysis, Undefined):
                    measurements[f"{prefix}/points"] = analysis
                    continue
                found[name] = analysis
                measurements |= summary(prefix, analysis)
                if probe.tested:
                    measurements |= curves(prefix, analysis)
                    measurements |= outputs.plane(prefix, probe, analysis, self.walks)
                    measurements |= outputs.effects(prefix, probe, analysis, self.train, self.least)
            if probe.tested:
                measurements |= outputs.linearised_accuracy(probe, found)
        return measurements

    def analyse(self, probe: Probe, name: str, layer: LayerTrace) -> Analysis | Undefined:
        """Search the points of one layer and decompose the Jacobians there."""
        memory = layer.cell.memory(layer.x, layer.states)
        states = valid_rows(join(State(layer.states.h, memory)), probe.mask).double()
        if not bool(states.isfinite().all()):
            return Undefined("the state is not finite")
        mean = valid_rows(layer.x, probe.mask).mean(0)
        step = Map(layer.cell, mean if self.at == "mean" else torch.zeros_like(mean))
        length = float(probe.batch.lengths.double().median())
        spread = spread_of(states) or 1.0
        count = self.tested_starts if probe.tested else self.starts
        order = torch.randperm(len(states), generator=torch.Generator().manual_seed(self.seed))
        starts = states[order[:count].to(states.device)]
        tolerance = max(0.5 * (self.drift * spread / length) ** 2, self.tolerance)
        slow = find_fixed_points(
            step, starts, tolerance, self.iterations, spread=spread, damping=SLOW_DAMPING
        )
        if not len(slow.states):
            return Undefined(NO_POINT)
        exact = find_fixed_points(step, slow.states, self.tolerance, EXACT_ITERATIONS, spread=spread)
        most = self.points if probe.tested else min(self.points, 16)
        some = slow.states[:: -(-len(slow.states) // most)]
        linear = linearise(step, some)
        readout = outputs.readout_vectors(probe, name)
        dimensions = max(1, probe.task.output_size - 1) if probe.task.has_classes else 1
        return Analysis(
            layer, states, slow, exact, linear, modes(linear.jacobians), readout, dimensions, length
        )


def summary(prefix: str, found: Analysis) -> Measurements:
    """Return the numbers that are measured at every cadence."""
    slow, exact, own = found.slow, found.exact, found.modes
    taus = own.time_constants
    slowest = taus[:, min(found.dimensions, taus.shape[1]) - 1]
    values: dict[str, float] = {
        "points": len(slow.states),
        "fixed_points": len(exact.states),
        "reached_share": slow.reached / slow.starts,
        "minima_share": slow.minima / slow.starts,
        "outlier_share": slow.outliers / slow.starts,
        "largest_speed": math.sqrt(2 * float(slow.q.max())),
        "length": found.length,
        "slow_modes": float((taus > found.length).sum(1).double().median()),
        "growing_modes": float((own.values.abs() > 1).sum(1).double().median()),
    }
    measurements: Measurements = {f"{prefix}/{name}": scalar(value) for name, value in values.items()}
    why = "a mode that neither decays nor grows"
    measurements[f"{prefix}/slow_time_constant"] = scalar(float(slowest.median()), why)
    if found.dimensions < taus.shape[1]:
        next_slowest = float(taus[:, found.dimensions].median())
        measurements[f"{prefix}/next_time_constant"] = scalar(next_slowest, why)
    if len(exact.states):
        stable = modes(found.linear.step.jacobian(exact.states)).stable
        measurements[f"{prefix}/stable_points"] = Scalar(float(stable.sum()))
    cloud = principal(found.states)
    share = cloud.cumulative_share[min(found.dimensions, len(cloud.variances)) - 1]
    measurements[f"{prefix}/states_share"] = scalar(float(share), "the states do not vary")
    measurements |= geometry(prefix, found)
    if found.readout is not None:
        ahead = found.readout @ found.linear.jacobians
        aligned = own.alignment(ahead, found.dimensions)
        why = "the outputs do not depend on the state"
        measurements[f"{prefix}/alignment"] = scalar(float(aligned.median()), why)
        chance = math.sqrt(min(1.0, found.dimensions / taus.shape[1]))
        measurements[f"{prefix}/alignment_chance"] = Scalar(chance)
    return measurements


def geometry(prefix: str, found: Analysis) -> Measurements:
    """Return how many dimensions the slow points fill, and how far they extend."""
    names = ("share", "participation_ratio", "extent")
    points, dimensions = found.slow.states, found.dimensions
    if len(points) < 3:
        return {f"{prefix}/{name}": Undefined(FEW) for name in names}
    own = principal(points)
    used = min(dimensions, len(own.variances))
    ratio = own.variances.sum() ** 2 / own.variances.square().sum()
    of_states = (found.states - found.states.mean(0)) @ own.axes[:used].T
    extent = (own.variances[:used].sum() / of_states.square().sum(1).mean()).sqrt()
    values = (own.cumulative_share[used - 1], ratio, extent)
    return {
        f"{prefix}/{name}": scalar(float(value), "the points do not vary")
        for name, value in zip(names, values, strict=True)
    }


def curves(prefix: str, found: Analysis) -> Measurements:
    """Return the spectrum of time constants, and the shares of variance by number of components."""
    taus = found.modes.time_constants.clamp_max(1e6)
    low, middle, high = (taus.quantile(q, dim=0).tolist() for q in (0.25, 0.5, 0.75))
    rank = [float(i + 1) for i in range(len(middle))]
    label = "time constant (steps)"
    measurements: Measurements = {f"{prefix}/time_constants": Curve(rank, middle, "mode", label, low, high)}
    sets = {"components": found.slow.states, "states_components": found.states}
    for name, states in sets.items():
        if len(states) > 2 and float(principal(states).variances.sum()) > 0:
            share = principal(states).cumulative_share[:16].tolist()
            number = [float(i + 1) for i in range(len(share))]
            curve = Curve(number, share, "components", "share of variance")
            measurements[f"{prefix}/{name}"] = curve
        else:
            measurements[f"{prefix}/{name}"] = Undefined(FEW)
    return measurements
