"""Norms of the Jacobian ∂state_T / ∂state_{T−k}: the effect of a change of the state k steps later.

Source: Pascanu et al. 2013. The state is (h, c) for cells with a memory cell. Products with the Jacobian and
its transpose use the cell's own `jvp` and `state_vjp`. For a small state the whole Jacobian is computed and
its norms are exact; for a large one they are estimated from products alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.lag_curves import dead_and_exploded_shares, geometric_curve
from gatescope.instruments.measurements import Measurements, Undefined
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.instruments.recursion import Recursion, longest, recursion, take
from gatescope.models.traces import LayerTrace


class JacobianNorms(ProbeInstrument):
    """Norms of the state's Jacobian J_k = ∂state_T / ∂state_{T−k} by lag k = 1, 2, 4, 8, …

    - `jacobian/<layer>/largest_singular_value`, `jacobian/<layer>/frobenius`: curves over lags (steps),
      geometric mean and quartiles over examples; no unit.
    - `jacobian/<layer>/dead_share`, `jacobian/<layer>/exploded_share`: share of examples with a Jacobian of
      exactly 0, or an overflow, at some lag. The former are left out of the mean; with one of the latter the
      curves are undefined.

    Args:
        examples: number of sequences of the probe, the longest.
        exact_up_to: largest number of entries of a state for which the whole Jacobian is computed.
        iterations: iterations of the power method for larger states; the result approaches the largest
            singular value from below.
        probes: random vectors for the Frobenius norm of larger states; its relative error is at most
            1 / √(2 · probes).
        seed: seed of the random vectors.
    """

    def __init__(
        self,
        examples: Annotated[int, Field(ge=1)] = 8,
        exact_up_to: Annotated[int, Field(ge=0)] = 128,
        iterations: Annotated[int, Field(ge=1)] = 12,
        probes: Annotated[int, Field(ge=1)] = 16,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.examples, self.exact_up_to = examples, exact_up_to
        self.iterations, self.probes, self.seed = iterations, probes, seed

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        """Measure the Jacobians of one probe."""
        if not probe.layers:
            return {"jacobian": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        with undisturbed(probe.model):
            for name, layer in probe.layers.items():
                measurements |= self._layer(f"jacobian/{name}", layer)
        return measurements

    def _layer(self, prefix: str, layer: LayerTrace) -> Measurements:
        steps = recursion(take(layer, longest(layer, self.examples)))
        lags = log_spaced(int(steps.lengths.max()) - 1)
        if not lags:
            why = Undefined("every sequence has one step: there is no lag to measure")
            return {f"{prefix}/largest_singular_value": why, f"{prefix}/frobenius": why}
        if steps.size <= self.exact_up_to:
            largest, frobenius = exact_norms(steps, lags)
        else:
            largest, frobenius = self._largest(steps, lags), self._frobenius(steps, lags)
        beyond = torch.tensor(lags, device=steps.lengths.device) >= steps.lengths[:, None]
        dead, exploded = dead_and_exploded_shares(frobenius, steps.lengths, lags)
        measurements: Measurements = {f"{prefix}/dead_share": dead, f"{prefix}/exploded_share": exploded}
        for name, values in (("largest_singular_value", largest), ("frobenius", frobenius)):
            valid = values.masked_fill(beyond, 0)
            if bool((valid.isnan() | (valid == math.inf)).any()):
                measurements[f"{prefix}/{name}"] = Undefined("exploded: overflow in the Jacobian")
            else:
                label = f"{name.replace('_', ' ')} of ∂state_T/∂state_(T-lag)"
                measurements[f"{prefix}/{name}"] = geometric_curve(
                    values.masked_fill(beyond, math.nan), lags, label
                )
        return measurements

    def _largest(self, steps: Recursion, lags: list[int]) -> Tensor:
        """Estimate the log of the largest singular value (B, lags), by power iteration on JᵀJ."""
        vectors = steps.random_units((), self.seed).expand(len(lags), -1, -1)
        for _ in range(self.iterations):
            products, _ = steps.jvp_from(vectors, lags)
            vectors, _ = steps.vjp_to(products, lags)
        return steps.jvp_from(vectors, lags)[1].T

    def _frobenius(self, steps: Recursion, lags: list[int]) -> Tensor:
        """Estimate the log Frobenius norm (B, lags): E‖Jᵀu‖² = ‖J‖² / n for random unit vectors u."""
        norms = []
        for _, log in vjps_by_lag(steps, steps.random_units((self.probes,), self.seed), lags):
            mean = (2 * log).logsumexp(0) - math.log(self.probes)
            norms.append((mean + math.log(steps.size)) / 2)
        return torch.stack(norms, -1)


def exact_norms(steps: Recursion, lags: list[int]) -> tuple[Tensor, Tensor]:
    """Compute the logs of the largest singular value and of the Frobenius norm from the whole Jacobian.

    Args:
        steps: the linearised recurrence.
        lags: lags, ascending.

    Returns:
        (B, lags) each; NaN where the Jacobian is not finite.
    """
    like, batch = steps.random_units((), 0), len(steps.lengths)
    basis = torch.eye(steps.size, dtype=like.dtype, device=like.device)[:, None]
    largest, frobenius = [], []
    for rows, log in vjps_by_lag(steps, basis.expand(-1, batch, -1), lags):
        top = log.amax(0).clamp_min(torch.finfo(log.dtype).min)
        scaled = (rows * (log - top).exp()[..., None].to(rows)).transpose(0, 1)
        finite = scaled.isfinite().all(-1).all(-1)
        values = torch.linalg.svdvals(scaled.where(finite[:, None, None], 0))[:, 0].double().log() + top
        largest.append(values.where(finite, math.nan))
        frobenius.append((2 * log).logsumexp(0) / 2)
    return torch.stack(largest, -1), torch.stack(frobenius, -1)


def vjps_by_lag(steps: Recursion, vectors: Tensor, lags: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Multiply vectors at state_T by the transposed Jacobian to each lag, in one backward pass.

    Args:
        steps: the linearised recurrence.
        vectors: (m, B, n).
        lags: lags, ascending.

    Yields:
        For each lag, unit vectors (m, B, n) and log norms (m, B).
    """
    log = torch.zeros_like(vectors[..., 0], dtype=torch.float64)
    done = 0
    for lag in lags:
        vectors, growth = steps.vjp_through(vectors, range(done, lag))
        log, done = log + growth, lag
        yield vectors, log


def log_spaced(largest: int) -> list[int]:
    """Return 1, 2, 4, … up to the largest lag, and the largest lag itself."""
    powers = [2**i for i in range(max(largest, 0).bit_length())]
    return powers if not powers or powers[-1] == largest else [*powers, largest]
