"""How far a gradient travels back through time (INSTRUMENTS.md §3): the question of vanishing, measured.

Sources: Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State, join, last_index, split
from gatescope.cells.tensors import reverse_within
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.lag_curves import LagLogs, lag_logs, state_measurements
from gatescope.instruments.measurements import Heatmap, Measurement, Measurements, Scalar, Undefined, scalar
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.instruments.recursion import longest, random_units, take
from gatescope.instruments.self_test import TOLERANCE, adjoint_error, memory_error
from gatescope.models.stack import LayerTrace
from gatescope.sequences import valid_mask

log = logging.getLogger(__name__)

RELATIVE = "‖∂L/∂state‖ relative to lag 0"
LOSS_FREE = "‖vᵀ ∂state_T/∂state‖ relative to lag 0, v random"


class GradientFlow(ProbeInstrument):
    """`gradient_flow/<layer>/…`, lag counted back from each sequence's last step in the layer's own time.

    vanishing_curve: of the loss's gradient that enters at the last step alone; in a deep stack it has come
    down through the layers above (below a bidirectional layer both ends' gradients meet at every step: read
    the loss-free curve there). loss_free_curve: a random unit vector on this layer's last state instead,
    carried by this layer's own recurrence: the one to compare before and after training. Both are of the
    whole state (h, c); `…_h` and `…_c` give the halves of a cell with a memory cell. From each, over the
    declared range of lags: decay_rate, half_life, reach, reach_censored, dead_share, exploded_share, with
    `loss_free_` before the latter's.
    dead_share, exploded_share: of the examples, those whose gradient is exactly 0 at a lag up to `fit_to`,
    and those whose gradient overflows; neither is in a mean. Where half are dead, or any has exploded, there
    is no decay rate.
    underflow_lag: the first lag where some example's gradient is exactly 0, if there is one.
    shortcut_share (top layers): mean of ‖direct_t‖ / (‖direct_t‖ + ‖a_t - direct_t‖) over the earlier steps
    that a gradient reaches.
    gate_path_share: ‖∏ keep ⊙ v‖ / ‖vᵀ ∂carrier_T/∂carrier‖ by lag, the carrier being c, or h without one.
    lag_map (top layers): ‖(∂state_{t+k}/∂state_t)ᵀ ∂L/∂output_{t+k}‖ by lag k and step t.
    `gradient_flow/self_test`: relative error of states, adjoint and ∂L/∂x against one step of the cell's
    equation and autograd through it, at every step of a few sequences at once.

    Args:
        fit_from, fit_to: lags over which the decay rate is fitted.
        epsilon: the relative norm that `reach` asks for.
        seed: of the random vectors.
        self_test: whether to ask it.
        gate_path: whether to read gate_path_share.
        lags: of the lag map; 0 leaves it out.
        map_examples: how many examples, the longest, the lag map is taken over.
    """

    def __init__(
        self,
        fit_from: Annotated[int, Field(ge=0)] = 1,
        fit_to: Annotated[int, Field(ge=1)] = 50,
        epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.01,
        seed: Annotated[int, Field(ge=0)] = 0,
        self_test: bool = True,
        gate_path: bool = False,
        lags: Annotated[int, Field(ge=0)] = 0,
        map_examples: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        self.fit, self.epsilon, self.seed = (fit_from, fit_to), epsilon, seed
        self.self_test, self.gate_path = self_test, gate_path
        self.lags, self.map_examples = lags, map_examples

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        if not probe.layers:
            return {"gradient_flow/self_test": Undefined("the model has no recurrent layer")}
        with undisturbed(probe.model):
            last = at_last_step(probe)
            adjoints = probe.model.stack.adjoint(
                probe.layers, None, last=last, renormalise=True, inputs=self.self_test
            )
            measurements: Measurements = {}
            for name, layer in probe.layers.items():
                prefix = f"gradient_flow/{name}"
                measurements |= self._curves(
                    f"{prefix}/", "vanishing", adjoint_logs(adjoints[name], layer), probe
                )
                measurements |= self._loss_free(f"{prefix}/", name, layer, probe)
            for name, part in top_directs(probe).items():
                measurements |= self._top(f"gradient_flow/{name}/", name, part, probe)
            if self.self_test:
                measurements |= self._test(probe, last, adjoints)
        return measurements

    def _curves(self, prefix: str, kind: str, logs: dict[str, Tensor], probe: Probe) -> Measurements:
        """Curves of the whole state and its halves, and the rates of the whole."""
        label, rates = (RELATIVE, prefix) if kind == "vanishing" else (LOSS_FREE, f"{prefix}{kind}_")
        measurements, relative = state_measurements(
            f"{prefix}{kind}_curve", rates, logs, probe.batch.lengths, label, self.fit, self.epsilon
        )
        if isinstance(relative, LagLogs) and (zero := relative.zero_lag()) is not None:
            measurements[f"{rates}underflow_lag"] = Scalar(float(zero))
        return measurements

    def _loss_free(self, prefix: str, name: str, layer: LayerTrace, probe: Probe) -> Measurements:
        """One walk back for the random vector on the whole state and, if asked for, one on the carrier."""
        size = layer.cell.hidden_size * (2 if layer.cell.has_memory_cell else 1)
        shape = (2 if self.gate_path else 1, len(layer.x), size)
        seeds = random_units(shape, layer.states.h, self.seed)
        logs = adjoint_logs(from_last(layer, split(layer.cell, seeds[0])), layer)
        measurements = self._curves(prefix, "loss_free", logs, probe)
        if self.gate_path:
            whole = split(layer.cell, seeds[1])
            v = whole.h if whole.c is None else whole.c
            only = State(v) if whole.c is None else State(torch.zeros_like(v), v)
            full = adjoint_logs(from_last(layer, only), layer)["state" if whole.c is None else "c"]
            keep = probe.gates[name].get("keep")
            share = gate_path_share(keep, v, full, probe.batch.lengths)
            measurements[f"{prefix}gate_path_share"] = share
        return measurements

    def _top(self, prefix: str, name: str, direct: Tensor, probe: Probe) -> Measurements:
        layer = probe.layers[name]
        measurements: Measurements = {f"{prefix}shortcut_share": shortcut_share(name, direct, probe)}
        if self.lags:
            measurements[f"{prefix}lag_map"] = lag_map(layer, direct, self.lags, self.map_examples)
        return measurements

    def _test(self, probe: Probe, last: Tensor, adjoints: dict[str, Adjoint]) -> Measurements:
        measurements: Measurements = {"gradient_flow/self_test": adjoint_error(probe, last, adjoints)}
        for name, layer in probe.layers.items():
            measurements |= memory_error(name, layer)
        for name, measurement in measurements.items():
            if isinstance(measurement, Scalar) and measurement.value > TOLERANCE:
                log.warning("%s = %.2g at step %d: above %g", name, measurement.value, probe.step, TOLERANCE)
        return measurements


def top_directs(probe: Probe) -> dict[str, Tensor]:
    """∂L/∂output of each direction of the top layer, (B, T, H) in that layer's own time."""
    stack = probe.model.stack
    names = list(probe.layers)[-stack.directions :]
    parts = probe.direct.chunk(stack.directions, dim=-1)
    return {
        name: reverse_within(part, probe.batch.lengths) if probe.layers[name].backward else part
        for name, part in zip(names, parts, strict=True)
    }


def at_last_step(probe: Probe) -> Tensor:
    """(B, S): what of `probe.direct` enters at each direction's own last step."""
    rows = torch.arange(len(probe.batch.lengths), device=probe.direct.device)
    parts = [direct[rows, probe.batch.lengths - 1] for direct in top_directs(probe).values()]
    return torch.cat(parts, dim=-1)


def from_last(layer: LayerTrace, v: State) -> Adjoint:
    """vᵀ ∂state_last/∂state_t at every step, v (B, H) of h and of c, by the layer's own recurrence alone."""
    return layer.cell.adjoint(layer.x, layer.states, None, last=v, renormalise=True)


def adjoint_logs(adjoint: Adjoint, layer: LayerTrace) -> dict[str, Tensor]:
    """Log norms by lag, (B, T) float64: of the whole state, and of h and c where there is a c."""
    lengths = last_index(layer.states) + 1
    return {
        part: reverse_within((_log_norm(value) + adjoint.log_scale)[..., None], lengths)[..., 0]
        for part, value in _parts(State(adjoint.h, adjoint.c)).items()
    }


def _parts(state: State) -> dict[str, Tensor]:
    if state.c is None:
        return {"state": state.h}
    return {"state": join(state), "h": state.h, "c": state.c}


def _log_norm(values: Tensor) -> Tensor:
    return values.norm(dim=-1).double().log()


def gate_path_share(keep: Tensor | None, v: Tensor, full: Tensor, lengths: Tensor) -> Measurement:
    """keep (B, T, H), v (B, H), log norms of the full product (B, T) by lag -> share by lag."""
    if keep is None:
        return Undefined("the cell has no gate that keeps its state")
    beyond = torch.arange(full.shape[1], device=full.device) >= lengths[:, None]
    if bool(((full == -torch.inf) & ~beyond).any()):
        return Undefined("dead: the full product is exactly 0 at some lag")
    by_lag = reverse_within(keep, lengths).double()
    passed = by_lag.clamp_min(torch.finfo(torch.float32).tiny).log().cumsum(1)
    initial = v.double().abs().log()
    path = torch.cat([initial[:, None], initial[:, None] + passed[:, :-1]], dim=1)
    share = lag_logs((2 * path).logsumexp(-1) / 2 - full, lengths)
    return share if isinstance(share, Undefined) else share.curve("‖∏ keep ⊙ v‖ / ‖full product‖")


def shortcut_share(name: str, direct: Tensor, probe: Probe) -> Scalar | Undefined:
    """Mean share of the gradient at earlier steps that comes straight from the readout, not through time."""
    steps = direct.shape[1]
    earlier = valid_mask(probe.batch.lengths - 1, steps)
    if not bool(earlier.any()):
        return Undefined("every sequence has one step: there is no lag to measure")
    if not bool((direct.abs().amax(-1) * earlier).any()):
        return Scalar(0.0) if bool(direct.any()) else Undefined("the loss does not depend on the states")
    straight = direct[earlier].norm(dim=-1)
    through_time = (probe.adjoints[name].h[earlier] - direct[earlier]).norm(dim=-1)
    share = straight / (straight + through_time)
    some = (straight + through_time) > 0
    return scalar(share[some].mean().item(), "overflow in the adjoint")


def lag_contributions(
    cell: RecurrentLayer, saved: dict[str, Tensor], direct: Tensor, lags: int
) -> Iterator[State]:
    """For k = 0 … lags - 1: what the loss at step t + k sends to state_t, (B, T, H), all t at once.

    Summed over every k this is the adjoint.
    """
    arriving = join(State(direct, torch.zeros_like(direct) if cell.has_memory_cell else None))
    to_pull, end = cell.prepare_vjp(saved), torch.zeros_like(arriving[:, :1])
    for lag in range(lags):
        if lag:
            # What leaves t + 1 arrives at t.
            arriving = torch.cat([cell.state_vjp(arriving, to_pull)[:, 1:], end], dim=1)
        yield cell.total(split(cell, arriving), saved)


def lag_map(layer: LayerTrace, direct: Tensor, lags: int, examples: int) -> Heatmap | Undefined:
    """Geometric mean over the longest examples of the norms that are not 0; 0 where none is."""
    steps = direct.shape[1]
    lags = min(lags, steps)
    rows = longest(layer, examples)
    chosen = take(layer, rows)
    saved = layer.cell.linearise(chosen.x, chosen.states)
    contributions = lag_contributions(layer.cell, saved, direct[rows], lags)
    logs = torch.stack([_log_norm(join(total)) for total in contributions])
    if bool((logs.isnan() | (logs == torch.inf)).any()):
        return Undefined("overflow in the adjoint")
    finite = logs.isfinite()
    mean = logs.masked_fill(~finite, 0).sum(1) / finite.sum(1).clamp_min(1)
    values = mean.exp().masked_fill(~finite.any(1), 0)
    x, y = [str(t) for t in range(steps)], [str(k) for k in range(lags)]
    return Heatmap(values.tolist(), x, y, "step", "lag (steps)")
