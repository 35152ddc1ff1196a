"""The measurements of the probe, computed by a Python loop over time steps and autograd through time.

The loop stores the gates and calls `retain_grad` on every state; sequences have equal lengths. There are two
forms. `usual` is what is commonly written: both matrix products at every time step, and `loss.backward()`.
`careful` is the fastest form of this approach: the product with the inputs is computed for all time steps at
once, and gradients are computed for states only, not for weights.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from benchmarks.loop_cells import STEPS, input_product
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State, States, join
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


class UnrolledLayer:
    """One layer, unrolled over time: states, which are part of the graph of autograd, and gates."""

    def __init__(self, name: str, cell: RecurrentLayer, x: Tensor, form: Form) -> None:
        self.cell, self.x, self.initial = cell, x.detach(), cell.zero_state(x)
        step = STEPS[name]
        input_parts = input_product(cell, x).unbind(1) if form == "careful" else None
        # With frozen weights, the graph of autograd begins at the initial state.
        h, c = (v if v is None else v.clone().requires_grad_() for v in self.initial)
        assert h is not None
        state = State(h, c)
        self.states: list[State] = []
        gates: list[dict[str, Tensor]] = []
        for t in range(x.shape[1]):
            state, at = step(
                cell, input_product(cell, x[:, t]) if input_parts is None else input_parts[t], state
            )
            for value in self.parts(state):
                value.retain_grad()
            self.states.append(state)
            detached = {id(value): value.detach() for value in at.values()}
            gates.append({gate: detached[id(value)] for gate, value in at.items()})
        self.h = torch.stack([s.h for s in self.states], dim=1)
        # A gate with two names is the same tensor, as in the cells, and is stacked once.
        stacked = {id(one): torch.stack([at[gate] for at in gates], dim=1) for gate, one in gates[0].items()}
        self.gates = {gate: stacked[id(one)] for gate, one in gates[0].items()}

    @staticmethod
    def parts(state: State) -> list[Tensor]:
        """Return h, and c where there is one."""
        return [value for value in state if value is not None]

    @property
    def leaves(self) -> list[Tensor]:
        """h_0, c_0, h_1, c_1, …, (B, H) each; without c for cells that have none."""
        return [value for state in self.states for value in self.parts(state)]

    def states_by_step(self, values: list[Tensor]) -> State:
        """Stack values that belong to `leaves`: (B, T, H) for h, and for c where there is one."""
        width = len(self.parts(self.initial))
        return State(*(torch.stack(values[part::width], dim=1) for part in range(width)))

    def trace(self) -> LayerTrace:
        """Return inputs and states, detached."""
        return LayerTrace(self.cell, self.x, States(self.h.detach(), self.initial), backward=False)


def probe_by_loop(
    name: str, model: Encoder, batch: Batch, loss: Loss, form: Form = "usual"
) -> tuple[Probe, list[UnrolledLayer]]:
    """Return states, gates and ∂L/∂state of every layer as a Probe, and the layers with their graph."""
    model.eval()
    model.requires_grad_(form == "usual")
    model.zero_grad()
    x = embedded = model.embed(batch.inputs)
    unrolled: dict[str, UnrolledLayer] = {}
    for layer, cell in model.stack.layers.items():
        unrolled[layer] = UnrolledLayer(name, cell, x, form)  # type: ignore[arg-type]
        x = unrolled[layer].h
    if form == "usual":
        x.retain_grad()
    prediction = model.readout(x, batch.lengths)
    value = loss(prediction.values, batch.targets).mean()
    if form == "usual":
        value.backward(retain_graph=True)
        output_grad = x.grad
        gradients = {layer: [_or_zero(v.grad, v) for v in own.leaves] for layer, own in unrolled.items()}
    else:
        leaves = [v for own in unrolled.values() for v in own.leaves]
        output_grad, *flat = torch.autograd.grad(value, [x, *leaves], retain_graph=True, allow_unused=True)
        given = iter(_or_zero(g, v) for g, v in zip(flat, leaves, strict=True))
        gradients = {layer: [next(given) for _ in own.leaves] for layer, own in unrolled.items()}
    assert output_grad is not None
    traces = {layer: own.trace() for layer, own in unrolled.items()}
    weights = None if prediction.attention is None else prediction.attention.detach()
    probe = Probe(0, model, batch, embedded.detach(), x.detach(), traces, weights, value.item(), output_grad)
    probe.gates = {layer: own.gates for layer, own in unrolled.items()}
    # Instruments use only h and c of an adjoint.
    adjoints = {layer: own.states_by_step(gradients[layer]) for layer, own in unrolled.items()}
    probe.adjoints = adjoints  # type: ignore[misc]
    return probe, list(unrolled.values())


def _or_zero(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def read(name: str, model: Encoder, batch: Batch, loss: Loss, form: Form = "usual") -> Measurements:
    """Return the measurements of `GateStatistics` and of `GradientFlow`.

    The self-test of `GradientFlow` compares the adjoint with autograd and is left out, because here autograd
    computes the adjoint. The loss must depend on the last time step only.
    """
    probe, unrolled = probe_by_loop(name, model, batch, loss, form)
    measurements = GateStatistics().read(probe)
    settings = GradientFlow()
    tops = probe.top_output_grads
    for own, (layer, adjoint) in zip(unrolled, probe.adjoints.items(), strict=True):
        prefix = f"gradient_flow/{layer}/"
        measurements |= _curves(prefix, "vanishing", State(adjoint.h, adjoint.c), probe, settings)
        measurements |= _curves(prefix, "loss_free", loss_free(own, settings.seed), probe, settings)
        if layer in tops:
            measurements[f"{prefix}shortcut_share"] = shortcut_share(layer, tops[layer], probe)
    return measurements


def loss_free(own: UnrolledLayer, seed: int) -> State:
    """Compute vᵀ ∂state_T/∂state_t by a second backward pass: (B, T, H) for h and c.

    v is drawn as in `GradientFlow`.
    """
    last = own.parts(own.states[-1])
    size = sum(value.shape[-1] for value in last)
    drawn = torch.randn(1, len(last[0]), size, generator=torch.Generator().manual_seed(seed))
    v = normalise(drawn)[0][0].split(last[0].shape[-1], dim=-1)
    leaves = own.leaves
    gradients = torch.autograd.grad(last, leaves, list(v), retain_graph=True, allow_unused=True)
    return own.states_by_step([_or_zero(g, value) for g, value in zip(gradients, leaves, strict=True)])


def _curves(prefix: str, kind: str, adjoint: State, probe: Probe, settings: GradientFlow) -> Measurements:
    """Return the curves of the whole state, of h and of c, and the rates of the whole state."""
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
