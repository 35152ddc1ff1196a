"""Self-tests at run time: the adjoint against autograd, and the recomputed memory cell against the kernel.

The adjoint is tested one step at a time, at all steps at once: autograd through a single application of the
cell's equation must reproduce it. See docs/instruments.md, "Adjoint".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.state import State
from gatescope.cells.tensors import reverse_within, shift
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.instruments.probe import Probe
from gatescope.models.traces import LayerTrace
from gatescope.sequences import valid_mask

TOLERANCE = 1e-4
"""Relative error above which a warning is logged (float32)."""
EXAMPLES = 4
"""Number of sequences that are tested: a wrong equation shows on any of them."""


def adjoint_error(probe: Probe, last: Tensor, adjoints: dict[str, Adjoint]) -> Scalar | Undefined:
    """Return the largest relative error over layers of the states, of ∂L/∂state and of ∂L/∂x.

    At every step the adjoint must equal the gradient that enters from outside plus the gradient from step
    t + 1, which is computed by autograd. Where this holds at every step, the adjoint is that of the whole
    sequence. No `.grad` is changed. The model must be in eval mode.

    Args:
        probe: the probe; its first `EXAMPLES` sequences are used.
        last: (B, S), the gradient at the last output of each direction.
        adjoints: the adjoints of that gradient, by layer.
    """
    lengths, directions = probe.batch.lengths[:EXAMPLES], probe.model.stack.directions
    names = list(probe.layers)
    errors: list[float] = []
    from_above: list[_ScaledTensor] = []
    for depth in reversed(range(0, len(names), directions)):
        input_grads = []
        for part, name in enumerate(names[depth : depth + directions]):
            layer, adjoint = probe.layers[name], adjoints[name].first(EXAMPLES)
            step = step_gradients(layer, adjoint)
            if from_above:
                outside = _gradient_from_above(from_above, part, directions, layer, adjoint, lengths)
            else:
                outside = torch.zeros_like(adjoint.h, dtype=torch.float64)
                ends = torch.arange(len(lengths), device=lengths.device), lengths - 1
                scale = (-adjoint.log_scale[ends]).exp()[:, None]
                outside[ends] = last[:EXAMPLES].chunk(directions, dim=-1)[part] * scale
            if bool((adjoint.h != 0).any()):
                errors += _errors(layer, adjoint, step, outside, lengths)
            below = _ScaledTensor(step.inputs, adjoint.log_scale).align_time(layer, lengths)
            input_grads.append(_ScaledTensor(layer.to_layer_below(below.values), below.log))
        from_above = input_grads
    if not errors:
        return Undefined("no gradient reaches the states")
    if not all(math.isfinite(error) for error in errors):
        return Undefined("overflow in the gradient")
    return Scalar(max(errors))


class StepGradients(NamedTuple):
    """Gradients through each single step, (E, T, …) for E examples.

    Attributes:
        state: the state after the step.
        previous: the gradient at the state before the step.
        inputs: the gradient at the input of the step.
        through_h: the gradient at c_t through h_t; None without a memory cell.
    """

    state: State
    previous: State
    inputs: Tensor
    through_h: Tensor | None


def step_gradients(layer: LayerTrace, adjoint: Adjoint) -> StepGradients:
    """Run autograd through one `step` from every recorded state, with the adjoint at the next state.

    Args:
        layer: the layer.
        adjoint: its adjoint, of the first `EXAMPLES` sequences.
    """
    cell, states = layer.cell, layer.states
    arguments = [layer.x, states.previous_h]
    if (c := cell.memory(layer.x, states)) is not None and states.initial.c is not None:
        arguments.append(shift(c, states.initial.c))
    rows = adjoint.h.shape[:2]
    leaves = [values[:EXAMPLES].flatten(0, 1).detach().requires_grad_() for values in arguments]
    h_grad, c_grad = adjoint.h.flatten(0, 1), None if adjoint.c is None else adjoint.c.flatten(0, 1)
    with torch.enable_grad():
        after = cell.step(leaves[0], State(*leaves[1:]))
        pairs, through_h = [(after.h, h_grad)], None
        if after.c is not None and c_grad is not None:
            (through_h,) = torch.autograd.grad(after.h, after.c, h_grad, retain_graph=True)
            pairs.append((after.c, c_grad - through_h))
        outputs, output_grads = zip(*pairs, strict=True)
        grads = torch.autograd.grad(outputs, leaves, output_grads, materialize_grads=True)
    inputs, *previous = (values.unflatten(0, rows) for values in grads)
    state = State(*(v.detach().unflatten(0, rows) for v in after if v is not None))
    through_h = None if through_h is None else through_h.unflatten(0, rows)
    return StepGradients(state, State(*previous), inputs, through_h)


class _ScaledTensor(NamedTuple):
    """The product of `values` (E, T, …) and the exponential of `log` (E, T)."""

    values: Tensor
    log: Tensor

    def align_time(self, layer: LayerTrace, lengths: Tensor) -> _ScaledTensor:
        """Convert between the time order of the layer and that of the stack."""
        if not layer.backward:
            return self
        log = reverse_within(self.log[..., None], lengths)[..., 0]
        return _ScaledTensor(reverse_within(self.values, lengths), log)

    def relative_to(self, log: Tensor) -> Tensor:
        """Divide by exp(log) in float64; 0 stays 0 at any scale."""
        scaled = self.values.double() * (self.log - log).exp()[..., None]
        return scaled.masked_fill(self.values == 0, 0.0)


def _gradient_from_above(
    from_above: list[_ScaledTensor],
    part: int,
    directions: int,
    layer: LayerTrace,
    adjoint: Adjoint,
    lengths: Tensor,
) -> Tensor:
    """Return the gradient from the layers above at one direction's states, in its time order and scale."""
    parts = [_ScaledTensor(values.chunk(directions, dim=-1)[part], log) for values, log in from_above]
    aligned = [p.align_time(layer, lengths).relative_to(adjoint.log_scale) for p in parts]
    return torch.stack(aligned).sum(0)


def _errors(
    layer: LayerTrace, adjoint: Adjoint, step: StepGradients, outside: Tensor, lengths: Tensor
) -> list[float]:
    """Return the relative errors of one layer's states and gradients."""
    own_log, valid = adjoint.log_scale, valid_mask(lengths, adjoint.h.shape[1])[..., None]

    def from_later(values: Tensor) -> Tensor:
        later = _ScaledTensor(values[:, 1:], own_log[:, 1:]).relative_to(own_log[:, :-1])
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
    return [relative_error(actual, expected) for actual, expected in pairs]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return ‖actual − expected‖ / ‖expected‖; 0 where the two are equal."""
    difference, size = (actual - expected).norm().item(), expected.norm().item()
    if difference == 0:
        return 0.0
    return difference / size if size else math.inf


def memory_error(name: str, layer: LayerTrace) -> Measurements:
    """Measure the relative error of the recomputed last memory cell c_T of a fused LSTM.

    Args:
        name: name of the layer.
        layer: the layer.

    Returns:
        `gradient_flow/<layer>/memory_error`; empty for other cells, whose c is not recomputed.
    """
    fused = getattr(layer.cell, "fused", None)
    if not isinstance(fused, nn.LSTM):
        return {}
    lengths = layer.lengths[:EXAMPLES].cpu()
    packed = pack_padded_sequence(layer.x[:EXAMPLES], lengths, batch_first=True, enforce_sorted=False)
    h, c = layer.states.initial
    assert c is not None
    expected = fused(packed, (h[None, :EXAMPLES], c[None, :EXAMPLES]))[1][1][0]
    c = layer.cell.final(layer.x, layer.states).c
    assert c is not None
    stays_zero = Undefined("the memory cell stays 0")
    error = scalar(relative_error(c[:EXAMPLES], expected)) if bool(expected.any()) else stays_zero
    return {f"gradient_flow/{name}/memory_error": error}
