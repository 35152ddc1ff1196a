"""Lyapunov exponents of a layer along its own trajectories (Vogt et al. 2020; Engelken et al. 2023).

QR at every step: orthogonalising every 10 to 20 steps corrupts the lowest exponents by whole nats.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.cells.state import join, split
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Curve, Measurements, Scalar, Undefined, scalar
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.instruments.recursion import Recursion, longest, recursion, take
from gatescope.models.stack import LayerTrace


class LyapunovSpectrum(ProbeInstrument):
    """`lyapunov/<layer>/spectrum` (nats a step, largest first, mean over examples), `/largest`, `/collapsed`
    (exponents at minus infinity, left out of the spectrum) and `/determinant_error`, the largest difference
    between the sum of exponents and the mean of log |det J_t|, which must be equal.

    Args:
        examples: how many of the probe's sequences, the longest, cut to the shortest of them.
        burn_in: steps before exponents are counted, while the axes turn into place.
    """

    def __init__(
        self, examples: Annotated[int, Field(ge=1)] = 2, burn_in: Annotated[int, Field(ge=0)] = 10
    ) -> None:
        self.examples, self.burn_in = examples, burn_in

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        if not probe.layers:
            return {"lyapunov": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        with undisturbed(probe.model):
            for name, layer in probe.layers.items():
                measurements |= self._layer(f"lyapunov/{name}", layer)
        return measurements

    def _layer(self, prefix: str, layer: LayerTrace) -> Measurements:
        walked = recursion(take(layer, longest(layer, self.examples)))
        steps = int(walked.lengths.min())
        if steps <= self.burn_in + 1:
            why = f"{steps} steps are too few for a burn-in of {self.burn_in}"
            return {f"{prefix}/spectrum": Undefined(why), f"{prefix}/largest": Undefined(why)}
        growth, determinant = expansion(walked, steps, self.burn_in)
        if bool((growth.isnan() | (growth == torch.inf)).any()):
            why = "exploded: overflow in the Jacobian"
            return {f"{prefix}/spectrum": Undefined(why), f"{prefix}/largest": Undefined(why)}
        return spectrum_measurements(prefix, growth, determinant)


def expansion(walked: Recursion, steps: int, burn_in: int) -> tuple[Tensor, Tensor]:
    """Exponents (B, size) and mean log |det J_t| (B,) over the steps after the burn-in, float64."""
    batch, size = len(walked.lengths), walked.size
    like = next(iter(walked.by_lag[0].values()))
    identity = torch.eye(size, dtype=like.dtype, device=like.device)
    columns = split(walked.cell, identity[:, None].expand(size, batch, size))
    axes = identity.double().expand(batch, size, size)
    logs = axes.new_zeros(batch, size)
    determinant = axes.new_zeros(batch)
    for lag in reversed(range(steps)):
        jacobian = join(walked.cell.jvp(columns, walked.by_lag[lag])).permute(1, 2, 0).double()
        if not bool(jacobian.isfinite().all()):
            return logs.fill_(torch.nan), determinant
        axes, triangle = torch.linalg.qr(jacobian @ axes)
        if lag < steps - burn_in:
            logs = logs + triangle.diagonal(dim1=-2, dim2=-1).abs().log()
            determinant = determinant + torch.linalg.slogdet(jacobian).logabsdet
    counted = steps - burn_in
    return logs / counted, determinant / counted


def spectrum_measurements(prefix: str, growth: Tensor, determinant: Tensor) -> Measurements:
    mean = growth.mean(0).sort(descending=True).values
    finite = mean[mean.isfinite()].tolist()
    measurements: Measurements = {f"{prefix}/collapsed": Scalar(float(len(mean) - len(finite)))}
    if not finite:
        why = Undefined("dead: every direction collapses to 0")
        return measurements | {f"{prefix}/spectrum": why, f"{prefix}/largest": why}
    index = [float(i) for i in range(len(finite))]
    error = (growth.sum(-1) - determinant).abs().max().item()
    return measurements | {
        f"{prefix}/spectrum": Curve(index, finite, "exponent", "nats a step"),
        f"{prefix}/largest": Scalar(finite[0]),
        f"{prefix}/determinant_error": scalar(error, "a Jacobian is singular"),
    }
