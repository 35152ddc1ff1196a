"""A recorded pass, computed again layer by layer, with the exact gradient at every state."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from gatescope.cells.adjoint import Adjoint, PreactivationAdjoint
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State
from gatescope.cells.tensors import reverse_within
from gatescope.instruments.probe import undisturbed
from gatescope.instruments.self_test import relative_error
from gatescope.models.traces import LayerTrace
from gatescope.watching.capture import Call
from gatescope.watching.copies import readable
from gatescope.watching.dropout import draw_masks
from gatescope.watching.errors import WatchError

TOLERANCE = 1e-3
"""Largest relative difference of the recomputed states from the module's own, in float32."""


@dataclass
class WatchedTrace(LayerTrace):
    """The forward pass of one layer and direction of a watched module.

    Attributes:
        factor: (B, T, D), by which dropout multiplied the input, in the time order of the module's input.
        projections: P (proj_size, H) of each direction of the layer below.
    """

    factor: Tensor | None = None
    projections: list[Tensor] = field(default_factory=list)

    def to_layer_below(self, input_grad: Tensor) -> Tensor:
        """Convert ∂L/∂x to the gradient at the states of the layer below."""
        grad = self.at_output_below(input_grad)
        if not self.projections:
            return grad
        parts = grad.chunk(len(self.projections), dim=-1)
        return torch.cat([part @ p for part, p in zip(parts, self.projections, strict=True)], dim=-1)

    def at_output_below(self, input_grad: Tensor) -> Tensor:
        """Convert ∂L/∂x to the gradient at the output of the layer below, which dropout followed."""
        if self.factor is None:
            return input_grad
        return input_grad[..., : self.factor.shape[-1]] * self.factor[: len(input_grad)]


class Pass:
    """One call of a module: traces of its layers, and what they are worth to the loss.

    Args:
        name: name of the module.
        call: what was recorded.
    """

    def __init__(self, name: str, call: Call) -> None:
        self.name, self.call, self.model, self.lengths = name, call, call.model, call.lengths

    @cached_property
    def traces(self) -> dict[str, LayerTrace]:
        """The forward pass of each layer and direction, by name.

        Raises:
            WatchError: the dropout between the layers cannot be repeated.
        """
        call = self.call
        traces: dict[str, LayerTrace] = {}
        x, factor = readable(call.x), None
        projections: list[Tensor] = []
        masks = self._dropout_masks()
        with undisturbed(self.model), torch.no_grad():
            for depth in range(self.model.stack.depth):
                names = self.model.names(depth)
                outputs = []
                for place, name in enumerate(names):
                    trace = self._trace(name, depth * len(names) + place, x, factor, projections)
                    outputs.append(self._output(name, trace))
                    traces[name] = trace
                x = torch.cat(outputs, dim=-1)
                projections = [self.model.projections[name] for name in names if self.model.projections]
                if depth < len(masks):
                    factor = masks[depth]
                    x = x * factor
        self.output_error = relative_error(x, readable(call.output))
        exact = call.output.dtype in (torch.float32, torch.float64)
        if call.dropout and exact and self.output_error > TOLERANCE:
            raise WatchError(
                f"{self.name}: the dropout of {call.dropout:g} between its layers could not be repeated, so "
                "that the states inside are unknown: call model.eval(), or set its dropout to 0"
            )
        return traces

    def _trace(
        self, name: str, place: int, x: Tensor, factor: Tensor | None, projections: list[Tensor]
    ) -> WatchedTrace:
        """Run one layer and direction."""
        cell: RecurrentLayer = self.model.stack.layers[name]  # type: ignore[assignment]
        backward = name.endswith("_backward")
        inputs = reverse_within(x, self.lengths) if backward else x
        parts = [readable(part[place]) for part in self.call.initial]
        if name in self.model.projections:
            first = torch.zeros(*x.shape[:2], len(self.model.projections[name])).to(x)
            if parts:
                first[:, 0] = parts[0]
                parts[0] = x.new_zeros(len(x), cell.hidden_size)
            inputs = torch.cat([inputs, first], dim=-1)
        state = State(*parts) if parts else cell.zero_state(x)
        states = cell.trace(inputs, self.lengths, state)
        if factor is None and name in self.model.projections and projections:
            factor = torch.ones_like(x)  # leaves out the further inputs
        return WatchedTrace(cell, inputs, states, backward, factor, projections)

    @property
    def inputs(self) -> Tensor:
        """The input (B, T, D)."""
        return readable(self.call.x)

    def h(self, name: str) -> Tensor:
        """Return the output of one layer and direction, in the time order of the module's input."""
        return self._output(name, self.traces[name])

    def _output(self, name: str, trace: LayerTrace) -> Tensor:
        h = trace.align_time(trace.states.h)
        return h @ self.model.projections[name].T if name in self.model.projections else h

    def _dropout_masks(self) -> list[Tensor]:
        """Return what dropout multiplied the output of each layer but the last by."""
        call = self.call
        if not call.dropout:
            return []
        if call.x.device.type == "cuda" and torch.backends.cudnn.enabled:
            raise WatchError(
                f"{self.name}: cuDNN does not tell which states its dropout of {call.dropout:g} between the "
                "layers has set to 0: call model.eval(), set its dropout to 0, or set "
                "torch.backends.cudnn.enabled = False"
            )
        return draw_masks(call, call.output.shape[-1], self.model.stack.depth - 1)

    @property
    def has_gradient(self) -> bool:
        """Whether a backward pass has reached the module."""
        return bool(self.call.grads)

    def _scaled(self, grad: Tensor) -> Tensor:
        return readable(grad) / self.call.loss_scale

    @cached_property
    def output_grad(self) -> Tensor:
        """∂L/∂output of the top layer through the output alone, (B, T, S) in the space of the states."""
        grad = self.call.output_grad()
        names = self.model.names(self.model.stack.depth - 1)
        if grad is None:
            return torch.zeros_like(torch.cat([self.traces[name].states.h for name in names], dim=-1))
        parts = self._scaled(grad).chunk(len(names), dim=-1)
        return torch.cat([self._into_state(n, part) for n, part in zip(names, parts, strict=True)], dim=-1)

    def _into_state(self, name: str, grad: Tensor) -> Tensor:
        """Convert a gradient at h as the module returns it to one at the state of the copied layer."""
        return grad @ self.model.projections[name] if name in self.model.projections else grad

    @cached_property
    def last_grads(self) -> dict[str, State]:
        """The gradients that entered at the last states, by layer name."""
        h, c = self.call.final_grads()
        last = {}
        for place, name in enumerate(self.traces):
            parts = [None if part is None else self._scaled(part[place]) for part in (h, c)]
            at_h = None if parts[0] is None else self._into_state(name, parts[0])
            if at_h is not None or parts[1] is not None:
                zero = torch.zeros_like(self.traces[name].states.initial.h)
                last[name] = State(zero if at_h is None else at_h, parts[1])
        return last

    @cached_property
    def adjoints(self) -> dict[str, Adjoint]:
        """The exact ∂L/∂state of each layer and direction, by name, in its own time order."""
        with undisturbed(self.model), torch.no_grad():
            return self.model.stack.adjoint(self.traces, self.output_grad, last_states=self.last_grads)

    def h_grad(self, name: str) -> Tensor:
        """Return ∂L/∂h_t in full, of h as the module returns it, in the time order of its input."""
        trace, adjoint = self.traces[name], self.adjoints[name]
        if name not in self.model.projections:
            return trace.align_time(adjoint.h)
        assert isinstance(adjoint, PreactivationAdjoint)
        # What step t + 1 sends back, and what enters from outside.
        grad = torch.zeros(*trace.x.shape[:2], len(self.model.projections[name])).to(trace.x)
        grad[:, :-1] = adjoint.recurrent_deltas[:, 1:] @ self.model.recurrent[name]
        grad = grad + trace.align_time(self._entering(name))
        place = list(self.traces).index(name)
        at_last = self.call.final_grads()[0]
        if at_last is not None:
            rows = torch.arange(len(grad), device=grad.device)
            grad[rows, trace.lengths - 1] += self._scaled(at_last[place])
        return trace.align_time(grad)

    def _entering(self, name: str) -> Tensor:
        """Return the gradient that enters at each output of a layer with a projection, (B, T, proj_size)."""
        names = list(self.traces)
        directions = self.model.stack.directions
        depth, part = divmod(names.index(name), directions)
        above = names[(depth + 1) * directions : (depth + 2) * directions]
        if not above:
            grad = self.call.output_grad()
            whole = torch.zeros_like(readable(self.call.output)) if grad is None else self._scaled(grad)
        else:
            sums = []
            for upper in above:
                trace = self.traces[upper]
                assert isinstance(trace, WatchedTrace)
                sums.append(trace.at_output_below(trace.align_time(self.adjoints[upper].inputs)))
            whole = torch.stack(sums).sum(0)
        return whole.chunk(directions, dim=-1)[part]

    @cached_property
    def readout_grad(self) -> Tensor:
        """∂L/∂output of the top layer, through the output and through the last h, (B, T, S)."""
        names = self.model.names(self.model.stack.depth - 1)
        return self.output_grad + self._at_ends(names, self.output_grad)

    def _at_ends(self, names: list[str], outputs: Tensor) -> Tensor:
        """Return the gradients at the last h of the top layer, each at its step of the output."""
        parts = []
        for name, like in zip(names, outputs.chunk(len(names), dim=-1), strict=True):
            part, trace = torch.zeros_like(like), self.traces[name]
            if name in self.last_grads:
                rows = torch.arange(len(part), device=part.device)
                part[rows, trace.lengths - 1] = self.last_grads[name].h
            parts.append(trace.align_time(part))
        return torch.cat(parts, dim=-1)
