"""The probe's readings the way they are taken today: a Python loop over a cell's step, its gates kept,
`retain_grad` on every state, and autograd through time. Sequences of equal length only.

Two forms. `usual` is what is commonly written: both products at every step, `loss.backward()`. `careful` is
the best that the approach allows: the input's product for all steps at once, and gradients of the states
alone, none of the weights.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from benchmarks.loop_cells import STEPS, feed
from gatescope.cells.base import RecurrentLayer, State, States, join
from gatescope.instruments.adjoint_norms import LOSS_FREE, RELATIVE
from gatescope.instruments.decay import state_measurements
from gatescope.instruments.gates import GateStatistics
from gatescope.instruments.gradient_flow import GradientFlow
from gatescope.instruments.gradient_paths import shortcut_share
from gatescope.instruments.lag_curves import LagLogs
from gatescope.instruments.measurements import Measurements, Scalar
from gatescope.instruments.probe import Loss, Probe
from gatescope.instruments.recursion import normalise
from gatescope.models.encoder import Encoder
from gatescope.models.traces import LayerTrace
from gatescope.sequences import Batch

Form = Literal["usual", "careful"]


class Walk:
    """One layer, stepped through: the state at every step, part of autograd's graph, and the gates."""

    def __init__(self, name: str, cell: RecurrentLayer, x: Tensor, form: Form) -> None:
        self.cell, self.x, self.initial = cell, x.detach(), cell.zero_state(x)
        step = STEPS[name]
        fed = feed(cell, x).unbind(1) if form == "careful" else None
        # Frozen weights give no graph: the start of the recurrence carries it instead.
        h, c = (v if v is None else v.clone().requires_grad_() for v in self.initial)
        assert h is not None
        state = State(h, c)
        self.states: list[State] = []
        gates: list[dict[str, Tensor]] = []
        for t in range(x.shape[1]):
            state, at = step(cell, feed(cell, x[:, t]) if fed is None else fed[t], state)
            for value in self.parts(state):
                value.retain_grad()
            self.states.append(state)
            detached = {id(value): value.detach() for value in at.values()}
            gates.append({gate: detached[id(value)] for gate, value in at.items()})
        self.h = torch.stack([s.h for s in self.states], dim=1)
        # A gate with two names is one tensor, as the cells give it: it is recorded once.
        stacked = {id(one): torch.stack([at[gate] for at in gates], dim=1) for gate, one in gates[0].items()}
        self.gates = {gate: stacked[id(one)] for gate, one in gates[0].items()}

    @staticmethod
    def parts(state: State) -> list[Tensor]:
        return [value for value in state if value is not None]

    @property
    def leaves(self) -> list[Tensor]:
        """h_0, c_0, h_1, c_1 … (B, H) each; no c for cells without one."""
        return [value for state in self.states for value in self.parts(state)]

    def states_by_step(self, values: list[Tensor]) -> State:
        """What belongs to `leaves` -> (B, T, H) of h, and of c where there is one."""
        width = len(self.parts(self.initial))
        return State(*(torch.stack(values[part::width], dim=1) for part in range(width)))

    def trace(self) -> LayerTrace:
        return LayerTrace(self.cell, self.x, States(self.h.detach(), self.initial), backward=False)


def look(
    name: str, model: Encoder, batch: Batch, loss: Loss, form: Form = "usual"
) -> tuple[Probe, list[Walk]]:
    """States, gates and ∂L/∂state of every layer as a Probe, and the graph, kept for a second gradient."""
    model.eval()
    model.requires_grad_(form == "usual")
    model.zero_grad()
    x = embedded = model.embed(batch.inputs)
    walks: dict[str, Walk] = {}
    for layer, cell in model.stack.layers.items():
        walks[layer] = Walk(name, cell, x, form)  # type: ignore[arg-type]
        x = walks[layer].h
    if form == "usual":
        x.retain_grad()
    prediction = model.readout(x, batch.lengths)
    value = loss(prediction.values, batch.targets).mean()
    if form == "usual":
        value.backward(retain_graph=True)
        direct = x.grad
        found = {layer: [_or_zero(v.grad, v) for v in walk.leaves] for layer, walk in walks.items()}
    else:
        leaves = [v for walk in walks.values() for v in walk.leaves]
        direct, *flat = torch.autograd.grad(value, [x, *leaves], retain_graph=True, allow_unused=True)
        given = iter(_or_zero(g, v) for g, v in zip(flat, leaves, strict=True))
        found = {layer: [next(given) for _ in walk.leaves] for layer, walk in walks.items()}
    assert direct is not None
    traces = {layer: walk.trace() for layer, walk in walks.items()}
    weights = None if prediction.attention is None else prediction.attention.detach()
    probe = Probe(0, model, batch, embedded.detach(), x.detach(), traces, weights, value.item(), direct)
    probe.gates = {layer: walk.gates for layer, walk in walks.items()}
    # Instruments read h and c alone of an adjoint.
    probe.adjoints = {layer: walk.states_by_step(found[layer]) for layer, walk in walks.items()}  # type: ignore[misc]
    return probe, list(walks.values())


def _or_zero(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def read(name: str, model: Encoder, batch: Batch, loss: Loss, form: Form = "usual") -> Measurements:
    """The readings of `GateStatistics` and of `GradientFlow` (without its self-test, which asks whether the
    adjoint agrees with autograd: here all is autograd's). The loss must be one of the last step only."""
    probe, walks = look(name, model, batch, loss, form)
    measurements = GateStatistics().read(probe)
    settings = GradientFlow()
    tops = probe.top_output_grads
    for walk, (layer, adjoint) in zip(walks, probe.adjoints.items(), strict=True):
        prefix = f"gradient_flow/{layer}/"
        measurements |= _curves(prefix, "vanishing", State(adjoint.h, adjoint.c), probe, settings)
        measurements |= _curves(prefix, "loss_free", loss_free(walk, settings.seed), probe, settings)
        if layer in tops:
            measurements[f"{prefix}shortcut_share"] = shortcut_share(layer, tops[layer], probe)
    return measurements


def loss_free(walk: Walk, seed: int) -> State:
    """vᵀ ∂state_T/∂state_t, (B, T, H) of h and c, v as `GradientFlow` draws it: a second backward."""
    last = walk.parts(walk.states[-1])
    size = sum(value.shape[-1] for value in last)
    drawn = torch.randn(1, len(last[0]), size, generator=torch.Generator().manual_seed(seed))
    v = normalise(drawn)[0][0].split(last[0].shape[-1], dim=-1)
    leaves = walk.leaves
    found = torch.autograd.grad(last, leaves, list(v), retain_graph=True, allow_unused=True)
    return walk.states_by_step([_or_zero(g, value) for g, value in zip(found, leaves, strict=True)])


def _curves(prefix: str, kind: str, adjoint: State, probe: Probe, settings: GradientFlow) -> Measurements:
    """As `GradientFlow` reports a walk: curves of the whole state and its halves, the rates of the whole."""
    label, rates = (RELATIVE, prefix) if kind == "vanishing" else (LOSS_FREE, f"{prefix}{kind}_")
    halves = {"state": State(join(adjoint))}
    if adjoint.c is not None:
        halves |= {"h": State(adjoint.h), "c": State(adjoint.c)}
    logs = {part: values.h.norm(dim=-1).double().log().flip(1) for part, values in halves.items()}
    options = (label, settings.fit, settings.epsilon)
    measurements, whole = state_measurements(
        f"{prefix}{kind}_curve", rates, logs, probe.batch.lengths, *options
    )
    if isinstance(whole, LagLogs) and (zero := whole.zero_lag()) is not None:
        measurements[f"{rates}underflow_lag"] = Scalar(float(zero))
    return measurements
