"""A stack of recurrent layers that gives access to the states of every layer and direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.log_scaled import add_scaled
from gatescope.cells.state import State, States
from gatescope.cells.tensors import reverse_within
from gatescope.models.traces import LayerPass, LayerTrace

CellFactory = Callable[[int, int], RecurrentLayer]
"""Builds a layer from (input_size, hidden_size)."""
HiddenState = dict[str, State]
"""The last state of every layer, by layer name; empty before the first batch."""


class StackOutput(NamedTuple):
    """The output of a stack.

    Attributes:
        states: (B, T, H·directions), states of the top layer.
        last: (B, H·directions), the last state of each direction; None where the kernel does not return it.
    """

    states: Tensor
    last: Tensor | None


class RecurrentStack(nn.Module):
    """Recurrent layers on top of each other: (B, T, D) -> (B, T, H·directions).

    Args:
        cell: builds a layer from (input_size, hidden_size).
        input_size: width D of the input.
        hidden_size: hidden units H of each layer and direction.
        layers: number of layers.
        bidirectional: whether each layer has a backward direction.
        dropout: dropout probability on the output of every layer but the last, as in `torch.nn.GRU`.
    """

    def __init__(
        self,
        cell: CellFactory,
        input_size: int,
        hidden_size: int,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.hidden_size, self.depth = hidden_size, layers
        self.output_size = hidden_size * self.directions
        self.recorded: dict[str, LayerTrace] | None = None
        """Traces of the training pass that `collect_gradients` reads; None while nothing is recorded."""
        self.layers = nn.ModuleDict()
        for depth in range(layers):
            size = input_size if depth == 0 else self.output_size
            for name in self._names(depth):
                self.layers[name] = cell(size, hidden_size)
        self.dropout = nn.Dropout(dropout)

    @property
    def values_per_step(self) -> int:
        """Number of values of the states of all layers and directions at a step."""
        return len(self.layers) * self.output_size // self.directions

    def _names(self, depth: int) -> list[str]:
        """Return the names of the directions of one layer."""
        return [f"layer{depth}", f"layer{depth}_backward"][: self.directions]

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, hidden_state: HiddenState | None = None
    ) -> Tensor:
        """Return the states of the top layer; arguments as in `run`."""
        return self.run(x, lengths, hidden_state).states

    def run(
        self, x: Tensor, lengths: Tensor | None = None, hidden_state: HiddenState | None = None
    ) -> StackOutput:
        """Run all layers.

        Args:
            x: (B, T, D).
            lengths: (B,), or None where every sequence has T steps.
            hidden_state: the state that each layer starts from, by layer name. It is updated in place with
                the detached last state of each layer (truncated backpropagation through time).
        """
        return self._run(x, lengths, None, hidden_state)

    def trace(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, dict[str, LayerTrace]]:
        """Run all layers and record the input and states of each.

        Returns:
            The states of the top layer (B, T, H·directions), and the traces by layer name ("layer0",
            "layer0_backward", "layer1", …).
        """
        traces: dict[str, LayerTrace] = {}
        return self._run(x, lengths, traces).states, traces

    def _run(
        self,
        x: Tensor,
        lengths: Tensor | None,
        traces: dict[str, LayerTrace] | None,
        hidden_state: HiddenState | None = None,
    ) -> StackOutput:
        last: list[Tensor] = []
        for depth in range(self.depth):
            outputs = []
            for name in self._names(depth):
                states = self._run_layer(name, x, lengths, traces, hidden_state)
                outputs.append(reverse_within(states.h, lengths) if name.endswith("_backward") else states.h)
                if depth == self.depth - 1 and states.last is not None:
                    last.append(states.last)
            x = _concatenate(outputs)
            if depth < self.depth - 1:
                x = self.dropout(x)
        return StackOutput(x, _concatenate(last) if len(last) == self.directions else None)

    def _run_layer(
        self,
        name: str,
        x: Tensor,
        lengths: Tensor | None,
        traces: dict[str, LayerTrace] | None,
        hidden_state: HiddenState | None,
    ) -> States:
        """Run one layer and direction; return its states in its own time order."""
        backward = name.endswith("_backward")
        inputs = reverse_within(x, lengths) if backward else x
        cell: RecurrentLayer = self.layers[name]  # type: ignore[assignment]
        initial = None if hidden_state is None else hidden_state.get(name)
        states = (cell if traces is None else cell.trace)(inputs, lengths, initial)
        if hidden_state is not None:
            hidden_state[name] = _detached_last_state(cell, inputs, states)
        if not torch.compiler.is_compiling() and self.recorded is not None and torch.is_grad_enabled():
            cell.record_gradients(states)
            self.recorded[name] = LayerTrace(cell, inputs.detach(), states, backward)
        if traces is not None:
            traces[name] = LayerTrace(cell, inputs, states, backward)
        return states

    def record_gradients(self) -> None:
        """Record the next training pass for `collect_gradients`."""
        self.recorded = {}

    @torch.no_grad()
    def collect_gradients(self) -> dict[str, LayerPass]:
        """Return gates and ∂L/∂state of the recorded pass, after its backward pass; stop recording.

        Call it before the optimiser changes the weights. Layers without a gradient are left out, and so are
        all layers of a compiled model.
        """
        recorded, self.recorded = self.recorded or {}, None
        result: dict[str, LayerPass] = {}
        for name, trace in recorded.items():
            x = trace.x.to(trace.cell.parameter_dtype(trace.x))
            collected = trace.cell.collect_gradients(x, trace.states)
            if collected is not None:
                states, adjoint = collected
                gates = trace.cell.gates(x, states)
                result[name] = LayerPass(replace(trace, x=x, states=states), gates, adjoint)
        return result

    @torch.no_grad()
    def adjoint(
        self,
        traces: dict[str, LayerTrace],
        output_grad: Tensor | None,
        *,
        last: Tensor | None = None,
        last_states: Mapping[str, State] | None = None,
        renormalise: bool = False,
        inputs: bool = False,
    ) -> dict[str, Adjoint]:
        """Compute the exact ∂L/∂state of every layer, from the top layer down.

        The traced pass must have run without dropout (eval mode), unless the traces know its masks.

        Args:
            traces: as returned by `trace`.
            output_grad: (B, T, H·directions), ∂L/∂output of the top layer; None for zeros.
            last: (B, H·directions), a further gradient at the last output of each direction of the top layer.
            last_states: in place of `last`, a further gradient at the last state of each layer, by name.
            renormalise: keep norms near 1 and carry their logarithms, against underflow and overflow.
            inputs: whether ∂L/∂input of the stack will be read.

        Returns:
            The adjoint by layer name, each in the time order of its layer.
        """
        adjoints: dict[str, Adjoint] = {}
        at_ends, log = last_states or {}, None
        for depth in reversed(range(self.depth)):
            names = self._names(depth)
            input_grads: list[tuple[Tensor, Tensor]] = []
            for i, name in enumerate(names):
                trace = traces[name]
                adjoint = trace.cell.adjoint(
                    trace.x,
                    trace.states,
                    None if output_grad is None else trace.align_time(output_grad.chunk(len(names), -1)[i]),
                    last=State(last.chunk(len(names), dim=-1)[i]) if last is not None else at_ends.get(name),
                    renormalise=renormalise,
                    output_grad_log_scale=None if log is None else trace.align_time(log),
                    inputs=inputs or depth > 0,
                )
                adjoints[name] = adjoint
                if depth > 0:
                    below = trace.to_layer_below(trace.align_time(adjoint.inputs))
                    input_grads.append((below, trace.align_time(adjoint.log_scale)))
            if depth == 0:
                break
            last = None
            output_grad, log = input_grads[0]
            for part, log_scale in input_grads[1:]:
                if renormalise:
                    output_grad, log = add_scaled(output_grad, log, part, log_scale)
                else:
                    output_grad = output_grad + part
        return {name: adjoints[name] for name in traces}


def _concatenate(directions: list[Tensor]) -> Tensor:
    """Concatenate the directions along the last axis."""
    return directions[0] if len(directions) == 1 else torch.cat(directions, dim=-1)


@torch.no_grad()
def _detached_last_state(cell: RecurrentLayer, inputs: Tensor, states: States) -> State:
    """Return the last state of each sequence, without its graph."""
    h, c = cell.final(inputs, states)
    return State(h.detach(), None if c is None else c.detach())
