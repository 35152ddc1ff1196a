"""A stack of recurrent layers, each direction a `RecurrentLayer`, so that each layer's states are seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.log_scaled import add_scaled
from gatescope.cells.state import State, States
from gatescope.cells.tensors import reverse_within

CellFactory = Callable[[int, int], RecurrentLayer]
Carried = dict[str, State]
"""The state in which each layer ended, by its name; empty before the first batch."""


@dataclass
class LayerTrace:
    """One layer and direction of a traced pass: input x (B, T, D) and states, both in the layer's own time
    (a backward layer sees each sequence reversed within its length)."""

    cell: RecurrentLayer
    x: Tensor
    states: States
    backward: bool


@dataclass
class LayerPass:
    """One layer and direction of a pass of training, after its backward pass: gates (B, T, H) by name and
    exact ∂L/∂state, L being what was minimised."""

    trace: LayerTrace
    gates: dict[str, Tensor]
    adjoint: Adjoint


class Output(NamedTuple):
    """States of the top layer (B, T, H·directions) and, where its kernel yields it, the state in which each
    direction ends (B, H·directions)."""

    states: Tensor
    last: Tensor | None


class RecurrentStack(nn.Module):
    """(B, T, D) -> (B, T, H·directions).

    Args:
        cell: makes a layer from (input_size, hidden_size).
        dropout: applied to the output of every layer but the last, as in torch.nn.GRU.
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
        """Set to {} before a pass of training, it takes what `collect_gradients` needs."""
        self.layers = nn.ModuleDict()
        for depth in range(layers):
            size = input_size if depth == 0 else self.output_size
            for name in self._names(depth):
                self.layers[name] = cell(size, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def _names(self, depth: int) -> list[str]:
        return [f"layer{depth}", f"layer{depth}_backward"][: self.directions]

    def forward(self, x: Tensor, lengths: Tensor | None = None, carried: Carried | None = None) -> Tensor:
        """The states of `run`."""
        return self.run(x, lengths, carried).states

    def run(self, x: Tensor, lengths: Tensor | None = None, carried: Carried | None = None) -> Output:
        """
        Args:
            carried: each layer starts from its state in here, and leaves the one it ends in, cut off from
                autograd: truncated backpropagation through time.
        """
        return self._run(x, lengths, None, carried)

    def trace(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, dict[str, LayerTrace]]:
        """As `forward`, and every layer's input and states by name ("layer0", "layer0_backward", …)."""
        traces: dict[str, LayerTrace] = {}
        return self._run(x, lengths, traces).states, traces

    def _run(
        self,
        x: Tensor,
        lengths: Tensor | None,
        traces: dict[str, LayerTrace] | None,
        carried: Carried | None = None,
    ) -> Output:
        last: list[Tensor] = []
        for depth in range(self.depth):
            outputs = []
            for name in self._names(depth):
                backward = name.endswith("_backward")
                inputs = reverse_within(x, lengths) if backward else x
                cell: RecurrentLayer = self.layers[name]  # type: ignore[assignment]
                state = None if carried is None else carried.get(name)
                states = (cell if traces is None else cell.trace)(inputs, lengths, state)
                if carried is not None:
                    carried[name] = _final(cell, inputs, states)
                recorded = None if torch.compiler.is_compiling() else self.recorded
                if recorded is not None and torch.is_grad_enabled():
                    cell.record_gradients(states)
                    recorded[name] = LayerTrace(cell, inputs.detach(), states, backward)
                if traces is not None:
                    traces[name] = LayerTrace(cell, inputs, states, backward)
                outputs.append(reverse_within(states.h, lengths) if backward else states.h)
                if depth == self.depth - 1 and states.last is not None:
                    last.append(states.last)
            x = _beside(outputs)
            if depth < self.depth - 1:
                x = self.dropout(x)
        return Output(x, _beside(last) if last else None)

    @torch.no_grad()
    def collect_gradients(self) -> dict[str, LayerPass]:
        """What the recorded pass and its backward pass left, by layer; to be asked before the weights move.

        Layers that no gradient came through are not in it, nor is anything of a compiled pass. Watching ends.
        """
        recorded, self.recorded = self.recorded or {}, None
        result: dict[str, LayerPass] = {}
        for name, trace in recorded.items():
            left = trace.cell.collect_gradients(trace.x, trace.states)
            if left is not None:
                states, adjoint = left
                gates = trace.cell.gates(trace.x, states)
                result[name] = LayerPass(replace(trace, states=states), gates, adjoint)
        return result

    @torch.no_grad()
    def adjoint(
        self,
        traces: dict[str, LayerTrace],
        direct: Tensor | None,
        *,
        last: Tensor | None = None,
        renormalise: bool = False,
        inputs: bool = False,
    ) -> dict[str, Adjoint]:
        """Exact ∂L/∂state of every layer, top to bottom, from `direct` = ∂L/∂output (B, T, H·directions) and
        `last` (B, H·directions): what reaches each direction's own last output beside that.

        The traced pass must have run without dropout (eval mode). Each adjoint is in its layer's own time, as
        its `LayerTrace` is. `inputs`: say so when ∂L/∂input of the stack will be asked for.
        """
        adjoints: dict[str, Adjoint] = {}
        log: Tensor | None = None
        for depth in reversed(range(self.depth)):
            names = self._names(depth)
            below: list[tuple[Tensor, Tensor]] = []
            for i, name in enumerate(names):
                turn = _turn(traces[name])
                cell, x, states = traces[name].cell, traces[name].x, traces[name].states
                found = cell.adjoint(
                    x,
                    states,
                    None if direct is None else turn(direct.chunk(len(names), dim=-1)[i]),
                    last=None if last is None else State(last.chunk(len(names), dim=-1)[i]),
                    renormalise=renormalise,
                    output_grad_log_scale=None if log is None else turn(log[..., None])[..., 0],
                    inputs=inputs or depth > 0,
                )
                adjoints[name] = found
                if depth == 0:
                    continue
                below.append((turn(found.inputs), turn(found.log_scale[..., None])[..., 0]))
            if depth == 0:
                break
            last = None
            direct, log = below[0]
            for part, log_scale in below[1:]:
                direct, log = (
                    add_scaled(direct, log, part, log_scale) if renormalise else (direct + part, log)
                )
        return {name: adjoints[name] for name in traces}


def _beside(directions: list[Tensor]) -> Tensor:
    return directions[0] if len(directions) == 1 else torch.cat(directions, dim=-1)


@torch.no_grad()
def _final(cell: RecurrentLayer, inputs: Tensor, states: States) -> State:
    h, c = cell.final(inputs, states)
    return State(h.detach(), None if c is None else c.detach())


def _turn(trace: LayerTrace) -> Callable[[Tensor], Tensor]:
    """From the stack's time to the layer's own, and back."""
    return (
        (lambda values: reverse_within(values, trace.states.lengths))
        if trace.backward
        else (lambda values: values)
    )
