"""Lyapunov exponents of a layer along its own trajectories.

Sources: Vogt et al. 2020; Engelken et al. 2023. The axes are orthogonalised (QR) at every step: doing so
every 10 to 20 steps changes the lowest exponents by up to 4 nats.
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
from gatescope.models.traces import LayerTrace


class LyapunovSpectrum(ProbeInstrument):
    """Lyapunov exponents λ_i of the driven recurrence, in nats a step.

    λ_i is the mean over steps of log |R_ii| with Q_t R_t = J_t Q_{t−1} and J_t = ∂state_t / ∂state_{t−1}.

    - `lyapunov/<layer>/spectrum`: curve of the exponents, largest first, mean over examples.
    - `lyapunov/<layer>/largest`: the largest exponent.
    - `lyapunov/<layer>/collapsed`: number of exponents of minus infinity, which the spectrum leaves out.
    - `lyapunov/<layer>/determinant_error`: largest difference, over examples, between Σ λ_i and the mean of
      log |det J_t|, which are equal in exact arithmetic.

    Args:
        examples: number of sequences of the probe, the longest, cut to the shortest of them.
        burn_in: steps before exponents are averaged, while the axes align.
    """

    def __init__(
        self, examples: Annotated[int, Field(ge=1)] = 2, burn_in: Annotated[int, Field(ge=0)] = 10
    ) -> None:
        self.examples, self.burn_in = examples, burn_in

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure the exponents of every layer of one probe."""
        if not probe.layers:
            return {"lyapunov": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        with undisturbed(probe.model):
            for name, layer in probe.layers.items():
                measurements |= self._layer(f"lyapunov/{name}", layer)
        return measurements

    def _layer(self, prefix: str, layer: LayerTrace) -> Measurements:
        linearised = recursion(take(layer, longest(layer, self.examples)))
        steps = int(linearised.lengths.min())
        if steps <= self.burn_in + 1:
            why = f"{steps} steps are too few for a burn-in of {self.burn_in}"
            return {f"{prefix}/spectrum": Undefined(why), f"{prefix}/largest": Undefined(why)}
        exponents, determinant = lyapunov_exponents(linearised, steps, self.burn_in)
        if bool((exponents.isnan() | (exponents == torch.inf)).any()):
            why = "exploded: overflow in the Jacobian"
            return {f"{prefix}/spectrum": Undefined(why), f"{prefix}/largest": Undefined(why)}
        return spectrum_measurements(prefix, exponents, determinant)


def lyapunov_exponents(linearised: Recursion, steps: int, burn_in: int) -> tuple[Tensor, Tensor]:
    """Compute the exponents of each example over the steps after the burn-in.

    Args:
        linearised: the linearised recurrence.
        steps: number of last steps that are used.
        burn_in: number of those that are not averaged.

    Returns:
        Exponents (B, n) and the mean of log |det J_t| (B,), float64; NaN where a Jacobian is not finite.
    """
    batch, size = len(linearised.lengths), linearised.size
    like = next(iter(linearised.by_lag[0].values()))
    identity = torch.eye(size, dtype=like.dtype, device=like.device)
    columns = split(linearised.cell, identity[:, None].expand(size, batch, size))
    axes = identity.double().expand(batch, size, size)
    logs = axes.new_zeros(batch, size)
    determinant = axes.new_zeros(batch)
    for lag in reversed(range(steps)):
        jacobian = join(linearised.cell.jvp(columns, linearised.by_lag[lag])).permute(1, 2, 0).double()
        if not bool(jacobian.isfinite().all()):
            return logs.fill_(torch.nan), determinant
        axes, triangle = torch.linalg.qr(jacobian @ axes)
        if lag < steps - burn_in:
            logs = logs + triangle.diagonal(dim1=-2, dim2=-1).abs().log()
            determinant = determinant + torch.linalg.slogdet(jacobian).logabsdet
    averaged = steps - burn_in
    return logs / averaged, determinant / averaged


def spectrum_measurements(prefix: str, exponents: Tensor, determinant: Tensor) -> Measurements:
    """Return the measurements of exponents (B, n) and mean log determinants (B,)."""
    mean = exponents.mean(0).sort(descending=True).values
    finite = mean[mean.isfinite()].tolist()
    measurements: Measurements = {f"{prefix}/collapsed": Scalar(float(len(mean) - len(finite)))}
    if not finite:
        why = Undefined("dead: every direction collapses to 0")
        return measurements | {f"{prefix}/spectrum": why, f"{prefix}/largest": why}
    index = [float(i) for i in range(len(finite))]
    error = (exponents.sum(-1) - determinant).abs().max().item()
    return measurements | {
        f"{prefix}/spectrum": Curve(index, finite, "exponent", "nats a step"),
        f"{prefix}/largest": Scalar(finite[0]),
        f"{prefix}/determinant_error": scalar(error, "a Jacobian is singular"),
    }
