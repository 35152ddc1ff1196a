"""How much a change of the state can matter k steps later: norms of ∂state_T / ∂state_{T-k}.

Source: Pascanu et al. 2013. The whole state, (h, c) for cells with a memory cell. Products with the Jacobian
and its transpose are the cell's own `jvp` and `vjp`; no matrix is formed.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.lag_curves import geometric_curve
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.instruments.readings import Readings, Undefined
from gatescope.instruments.recursion import Recursion, longest, recursion, take
from gatescope.models.stack import LayerTrace


class JacobianNorms(ProbeInstrument):
    """`jacobian/<layer>/largest_singular_value` and `/frobenius`: curves over lags 1, 2, 4, 8, …

    Geometric mean and quartiles over examples.

    Args:
        examples: how many of the probe's sequences, the longest.
        iterations: of the power method; it approaches the largest singular value from below.
        probes: random vectors for the Frobenius norm, whose relative error is at most 1 / √(2 · probes).
        seed: of the random vectors.
    """

    def __init__(
        self,
        examples: Annotated[int, Field(ge=1)] = 8,
        iterations: Annotated[int, Field(ge=1)] = 12,
        probes: Annotated[int, Field(ge=1)] = 16,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.examples, self.iterations, self.probes, self.seed = examples, iterations, probes, seed

    @torch.no_grad()
    def read(self, probe: Probe) -> Readings:
        if not probe.layers:
            return {"jacobian": Undefined("the model has no recurrent layer")}
        readings: Readings = {}
        with undisturbed(probe.model):
            for name, layer in probe.layers.items():
                readings |= self._layer(f"jacobian/{name}", layer)
        return readings

    def _layer(self, prefix: str, layer: LayerTrace) -> Readings:
        walked = recursion(take(layer, longest(layer, self.examples)))
        lags = log_spaced(int(walked.lengths.max()) - 1)
        if not lags:
            why = Undefined("every sequence has one step: there is no lag to measure")
            return {f"{prefix}/largest_singular_value": why, f"{prefix}/frobenius": why}
        logs = {
            "largest_singular_value": self._largest(walked, lags),
            "frobenius": self._frobenius(walked, lags),
        }
        beyond = torch.tensor(lags, device=walked.lengths.device) >= walked.lengths[:, None]
        readings: Readings = {}
        for name, values in logs.items():
            valid = values.masked_fill(beyond, 0)
            if bool((valid.isnan() | (valid == math.inf)).any()):
                readings[f"{prefix}/{name}"] = Undefined("overflow in the Jacobian")
            else:
                label = f"{name.replace('_', ' ')} of ∂state_T/∂state_(T-lag)"
                readings[f"{prefix}/{name}"] = geometric_curve(
                    values.masked_fill(beyond, math.nan), lags, label
                )
        return readings

    def _largest(self, walked: Recursion, lags: list[int]) -> Tensor:
        """(B, lags) logarithms, by power iteration on JᵀJ, of all lags in the same walks."""
        vectors = walked.random_units((), self.seed).expand(len(lags), -1, -1)
        for _ in range(self.iterations):
            images, _ = walked.forward_from(vectors, lags)
            vectors, _ = walked.back_to(images, lags)
        return walked.forward_from(vectors, lags)[1].T

    def _frobenius(self, walked: Recursion, lags: list[int]) -> Tensor:
        """(B, lags) logarithms: E‖Jᵀu‖² = ‖J‖² / size for random directions u; one walk serves every lag."""
        adjoint = walked.random_units((self.probes,), self.seed)
        log = torch.zeros_like(adjoint[..., 0], dtype=torch.float64)
        found, done = [], 0
        for lag in lags:
            adjoint, growth = walked.back_through(adjoint, range(done, lag))
            log, done = log + growth, lag
            mean = (2 * log).logsumexp(0) - math.log(self.probes)
            found.append((mean + math.log(walked.size)) / 2)
        return torch.stack(found, -1)


def log_spaced(largest: int) -> list[int]:
    """1, 2, 4, … and the largest itself."""
    powers = [2**i for i in range(max(largest, 0).bit_length())]
    return powers if not powers or powers[-1] == largest else [*powers, largest]
