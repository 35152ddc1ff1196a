"""How much a change of the state can matter k steps later: norms of ∂state_T / ∂state_{T-k}.

Source: Pascanu et al. 2013. The whole state, (h, c) for cells with a memory cell. Products with the Jacobian
and its transpose are the cell's own `jvp` and `state_vjp`: of a small state all rows are walked back, and the
norms are exact; of a larger one no matrix is formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.lag_curves import geometric_curve, lost_shares
from gatescope.instruments.measurements import Measurements, Undefined
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.instruments.recursion import Recursion, longest, recursion, take
from gatescope.models.stack import LayerTrace


class JacobianNorms(ProbeInstrument):
    """`jacobian/<layer>/largest_singular_value` and `/frobenius`: curves over lags 1, 2, 4, 8, …

    Geometric mean and quartiles over examples. `jacobian/<layer>/dead_share` and `/exploded_share`: of the
    examples, those whose Jacobian is exactly 0, or overflows, at some lag; the former are not in the means,
    and with one of the latter there is no mean.

    Args:
        examples: how many of the probe's sequences, the longest.
        exact_up_to: numbers of a state whose whole Jacobian is walked back. Larger ones:
        iterations: of the power method; it approaches the largest singular value from below.
        probes: random vectors for the Frobenius norm, whose relative error is at most 1 / √(2 · probes).
        seed: of the random vectors.
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
        if not probe.layers:
            return {"jacobian": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        with undisturbed(probe.model):
            for name, layer in probe.layers.items():
                measurements |= self._layer(f"jacobian/{name}", layer)
        return measurements

    def _layer(self, prefix: str, layer: LayerTrace) -> Measurements:
        walked = recursion(take(layer, longest(layer, self.examples)))
        lags = log_spaced(int(walked.lengths.max()) - 1)
        if not lags:
            why = Undefined("every sequence has one step: there is no lag to measure")
            return {f"{prefix}/largest_singular_value": why, f"{prefix}/frobenius": why}
        if walked.size <= self.exact_up_to:
            largest, frobenius = exact_norms(walked, lags)
        else:
            largest, frobenius = self._largest(walked, lags), self._frobenius(walked, lags)
        beyond = torch.tensor(lags, device=walked.lengths.device) >= walked.lengths[:, None]
        lost = lost_shares(frobenius, walked.lengths, lags)
        measurements: Measurements = {f"{prefix}/dead_share": lost[0], f"{prefix}/exploded_share": lost[1]}
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

    def _largest(self, walked: Recursion, lags: list[int]) -> Tensor:
        """(B, lags) logarithms, by power iteration on JᵀJ, of all lags in the same walks."""
        vectors = walked.random_units((), self.seed).expand(len(lags), -1, -1)
        for _ in range(self.iterations):
            images, _ = walked.forward_from(vectors, lags)
            vectors, _ = walked.back_to(images, lags)
        return walked.forward_from(vectors, lags)[1].T

    def _frobenius(self, walked: Recursion, lags: list[int]) -> Tensor:
        """(B, lags) logarithms: E‖Jᵀu‖² = ‖J‖² / size for random directions u."""
        found = []
        for _, log in walked_back(walked, walked.random_units((self.probes,), self.seed), lags):
            mean = (2 * log).logsumexp(0) - math.log(self.probes)
            found.append((mean + math.log(walked.size)) / 2)
        return torch.stack(found, -1)


def exact_norms(walked: Recursion, lags: list[int]) -> tuple[Tensor, Tensor]:
    """(B, lags) logarithms of the largest singular value and of the Frobenius norm; NaN where the Jacobian
    is no number."""
    like, batch = walked.random_units((), 0), len(walked.lengths)
    basis = torch.eye(walked.size, dtype=like.dtype, device=like.device)[:, None]
    largest, frobenius = [], []
    for rows, log in walked_back(walked, basis.expand(-1, batch, -1), lags):
        top = log.amax(0).clamp_min(torch.finfo(log.dtype).min)
        scaled = (rows * (log - top).exp()[..., None].to(rows)).transpose(0, 1)
        known = scaled.isfinite().all(-1).all(-1)
        values = torch.linalg.svdvals(scaled.where(known[:, None, None], 0))[:, 0].double().log() + top
        largest.append(values.where(known, math.nan))
        frobenius.append((2 * log).logsumexp(0) / 2)
    return torch.stack(largest, -1), torch.stack(frobenius, -1)


def walked_back(walked: Recursion, adjoint: Tensor, lags: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Vectors (n, B, size) at state_T, pulled back to each of the lags, these ascending: at norm 1, and the
    logarithm of each norm (n, B). One walk serves every lag."""
    log = torch.zeros_like(adjoint[..., 0], dtype=torch.float64)
    done = 0
    for lag in lags:
        adjoint, growth = walked.back_through(adjoint, range(done, lag))
        log, done = log + growth, lag
        yield adjoint, log


def log_spaced(largest: int) -> list[int]:
    """1, 2, 4, … and the largest itself."""
    powers = [2**i for i in range(max(largest, 0).bit_length())]
    return powers if not powers or powers[-1] == largest else [*powers, largest]
