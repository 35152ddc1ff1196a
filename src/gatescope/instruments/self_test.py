"""Whether the adjoint is right, asked at run time: one step of the cell's equation, and autograd through it,
at every step at once; and the recomputed memory cell against the kernel's own (INSTRUMENTS.md §2)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.state import State, last_index
from gatescope.cells.tensors import reverse_within, shift
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.instruments.probe import Probe
from gatescope.models.stack import LayerTrace
from gatescope.sequences import valid_mask

TOLERANCE = 1e-4
EXAMPLES = 4
"""Sequences of the probe that are asked: a wrong equation is as wrong on four as on all of them."""


def adjoint_error(probe: Probe, last: Tensor, adjoints: dict[str, Adjoint]) -> Scalar | Undefined:
    """Largest relative error over layers of states, ∂L/∂state and ∂L/∂x, on the first `EXAMPLES` sequences.

    What autograd finds at step t + 1 and what enters from outside must add up to the adjoint at step t: where
    this holds at every step, the adjoint is that of the whole sequence. `adjoints` are those of `last`
    (B, S), the gradient at each direction's last output. Nothing is written to any `.grad`; the caller sets
    eval mode.
    """
    lengths, directions = probe.batch.lengths[:EXAMPLES], probe.model.stack.directions
    names = list(probe.layers)
    errors: list[float] = []
    above: list[_Scaled] = []
    for depth in reversed(range(0, len(names), directions)):
        below = []
        for part, name in enumerate(names[depth : depth + directions]):
            layer, adjoint = probe.layers[name], adjoints[name].first(EXAMPLES)
            step = through_step(layer, adjoint)
            if above:
                outside = _entering(above, part, directions, layer, adjoint, lengths)
            else:
                outside = torch.zeros_like(adjoint.h, dtype=torch.float64)
                ends = torch.arange(len(lengths), device=lengths.device), lengths - 1
                scale = (-adjoint.log_scale[ends]).exp()[:, None]
                outside[ends] = last[:EXAMPLES].chunk(directions, dim=-1)[part] * scale
            if bool((adjoint.h != 0).any()):
                errors += _errors(layer, adjoint, step, outside, lengths)
            below.append(_Scaled(step.inputs, adjoint.log_scale).turned(layer, lengths))
        above = below
    if not errors:
        return Undefined("no gradient reaches the states")
    if not all(math.isfinite(error) for error in errors):
        return Undefined("overflow in the gradient")
    return Scalar(max(errors))


class Step(NamedTuple):
    """Every step by itself, (E, T, …): the state that it makes; what reaches the state before it and its
    input; and, with a memory cell, what reaches c_t through h_t."""

    state: State
    previous: State
    inputs: Tensor
    through_h: Tensor | None


def through_step(layer: LayerTrace, adjoint: Adjoint) -> Step:
    """Autograd through `step` from the states that a pass left, with the adjoint at what it makes."""
    cell, states = layer.cell, layer.states
    given = [layer.x, states.previous_h]
    if (c := cell.memory(layer.x, states)) is not None and states.initial.c is not None:
        given.append(shift(c, states.initial.c))
    rows = adjoint.h.shape[:2]
    leaves = [values[:EXAMPLES].flatten(0, 1).detach().requires_grad_() for values in given]
    a, total = adjoint.h.flatten(0, 1), None if adjoint.c is None else adjoint.c.flatten(0, 1)
    with torch.enable_grad():
        made = cell.step(leaves[0], State(*leaves[1:]))
        reached, through_h = [(made.h, a)], None
        if made.c is not None and total is not None:
            (through_h,) = torch.autograd.grad(made.h, made.c, a, retain_graph=True)
            reached.append((made.c, total - through_h))
        ends, arriving = zip(*reached, strict=True)
        found = torch.autograd.grad(ends, leaves, arriving, materialize_grads=True)
    inputs, *previous = (values.unflatten(0, rows) for values in found)
    state = State(*(v.detach().unflatten(0, rows) for v in made if v is not None))
    through_h = None if through_h is None else through_h.unflatten(0, rows)
    return Step(state, State(*previous), inputs, through_h)


class _Scaled(NamedTuple):
    """`values` (E, T, …) times exp of `log` (E, T)."""

    values: Tensor
    log: Tensor

    def turned(self, layer: LayerTrace, lengths: Tensor) -> _Scaled:
        """From the layer's own time to the stack's, and back."""
        if not layer.backward:
            return self
        log = reverse_within(self.log[..., None], lengths)[..., 0]
        return _Scaled(reverse_within(self.values, lengths), log)

    def over(self, log: Tensor) -> Tensor:
        """Over exp(log), float64; 0 is 0 at any scale."""
        scaled = self.values.double() * (self.log - log).exp()[..., None]
        return scaled.masked_fill(self.values == 0, 0.0)


def _entering(
    above: list[_Scaled], part: int, directions: int, layer: LayerTrace, adjoint: Adjoint, lengths: Tensor
) -> Tensor:
    """What the layers above send to this direction's states, in its own time and scale."""
    parts = [_Scaled(values.chunk(directions, dim=-1)[part], log) for values, log in above]
    return torch.stack([p.turned(layer, lengths).over(adjoint.log_scale) for p in parts]).sum(0)


def _errors(layer: LayerTrace, adjoint: Adjoint, step: Step, outside: Tensor, lengths: Tensor) -> list[float]:
    own, valid = adjoint.log_scale, valid_mask(lengths, adjoint.h.shape[1])[..., None]

    def from_later(values: Tensor) -> Tensor:
        later = _Scaled(values[:, 1:], own[:, 1:]).over(own[:, :-1])
        return torch.cat([later, torch.zeros_like(outside[:, :1])], dim=1)

    pairs = [
        (layer.states.h[:EXAMPLES], step.state.h * valid),
        (adjoint.h, outside + from_later(step.previous.h)),
        (adjoint.inputs, step.inputs),
    ]
    c = layer.cell.memory(layer.x, layer.states)
    if c is not None and adjoint.c is not None and step.through_h is not None:
        assert step.state.c is not None
        assert step.previous.c is not None
        pairs += [
            (c[:EXAMPLES], step.state.c * valid),
            (adjoint.c, step.through_h + from_later(step.previous.c)),
        ]
    return [relative_error(found, truth) for found, truth in pairs]


def relative_error(found: Tensor, truth: Tensor) -> float:
    """‖found - truth‖ / ‖truth‖; 0 where the two are equal."""
    difference, size = (found - truth).norm().item(), truth.norm().item()
    if difference == 0:
        return 0.0
    return difference / size if size else math.inf


def memory_error(name: str, layer: LayerTrace) -> Measurements:
    """`gradient_flow/<layer>/memory_error`: relative error of the recomputed c_T; {} where no c is hidden."""
    fused = getattr(layer.cell, "fused", None)
    if not isinstance(fused, nn.LSTM):
        return {}
    lengths = (last_index(layer.states) + 1)[:EXAMPLES].cpu()
    packed = pack_padded_sequence(layer.x[:EXAMPLES], lengths, batch_first=True, enforce_sorted=False)
    h, c = layer.states.initial
    assert c is not None
    truth = fused(packed, (h[None, :EXAMPLES], c[None, :EXAMPLES]))[1][1][0]
    c = layer.cell.final(layer.x, layer.states).c
    assert c is not None
    stays = Undefined("the memory cell stays 0")
    error = scalar(relative_error(c[:EXAMPLES], truth)) if bool(truth.any()) else stays
    return {f"gradient_flow/{name}/memory_error": error}
