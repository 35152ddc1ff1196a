"""Interventions: a model whose gates are held at a value, or whose states are replaced at some steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gatescope.cells.layer import RecurrentLayer
from gatescope.models.encoder import SequenceModel
from gatescope.models.stack import RecurrentStack
from gatescope.watching.clamped_layer import ClampedLayer
from gatescope.watching.errors import WatchError

STATES = {"state": "h", "memory": "c"}
"""What can be replaced besides gates, and the part of the state that it is."""
SELECTORS = ("layer", "direction", "unit", "step")
SHUT = 1e4
"""Pre-activation of a gate that is exactly 0 or 1."""


def clamped(model: SequenceModel, clamp: Mapping[str, Any], lengths: Tensor, steps: int) -> SequenceModel:
    """Return a copy of a model with an intervention.

    Args:
        model: the model, which stays unchanged.
        clamp: what is held at which value, and where; see `gatescope.trained.Trained.trace`.
        lengths: (B,) of the batch that the copy will read.
        steps: T of that batch.

    Raises:
        WatchError: there is no such gate, layer, unit or step, or the gate of this cell cannot be held.
    """
    changed = copy.deepcopy(model)
    stack = changed.stack
    where = {key: value for key, value in clamp.items() if key in SELECTORS}
    values = {key: value for key, value in clamp.items() if key not in SELECTORS}
    if not values:
        raise WatchError(f"clamp names no gate and no state: {dict(clamp)}; for example {{'update': 0.0}}")
    for name, depth, direction in _selected(stack, where):
        cell: RecurrentLayer = stack.layers[name]  # type: ignore[assignment]
        units = _indices("unit", where.get("unit"), cell.hidden_size)
        if hasattr(cell, "kernel"):
            cell.kernel = "torch"  # type: ignore[assignment]
        for gate in (key for key in values if key not in STATES):
            if "step" in where:
                raise WatchError(
                    f"a gate is held at every step, only a state at some: leave out step for {gate}"
                )
            hold_gate(cell, gate, float(values[gate]), units)
        held = {STATES[key]: value for key, value in values.items() if key in STATES}
        if held:
            steps_held = _indices("step", where.get("step"), steps)
            place = (depth, direction)
            stack.layers[name] = ClampedLayer(cell, held, units, steps_held, place, lengths, steps)
    return changed


def _selected(stack: RecurrentStack, where: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Yield the name, depth and direction of each layer that is selected."""
    directions = ("forward", "backward")[: stack.directions]
    chosen = where.get("direction", directions)
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    if unknown := set(chosen) - set(directions):
        raise WatchError(f"clamp: there is no direction {unknown.pop()!r}; there are {', '.join(directions)}")
    for depth in _indices("layer", where.get("layer"), stack.depth):
        for direction in chosen:
            yield f"layer{depth}" + ("_backward" if direction == "backward" else ""), depth, direction


def _indices(what: str, chosen: Any, count: int) -> list[int]:
    """Return the chosen indices; all of them where none is chosen."""
    if chosen is None:
        return list(range(count))
    indices = [int(i) for i in ([chosen] if isinstance(chosen, int) else chosen)]
    for index in indices:
        if not 0 <= index < count:
            raise WatchError(f"clamp: there is no {what} {index}; there are 0 to {count - 1}")
    return indices


@torch.no_grad()
def hold_gate(cell: RecurrentLayer, gate: str, value: float, units: list[int]) -> None:
    """Change the weights of a cell so that a gate has the same value at every step.

    The rows of the gate in the weights become 0, and its bias the pre-activation of the value.

    Args:
        cell: the cell, which is changed.
        gate: name of the gate, as `RecurrentLayer.gates` publishes it.
        value: 0 to 1; of a candidate −1 to 1.
        units: the units of which the gate is held.

    Raises:
        WatchError: there is no such gate, or it cannot be held.
    """
    published = (*cell.gate_names, "keep", "candidate") if cell.gate_names else ()
    if gate not in published:
        known = ", ".join((*published, *STATES))
        raise WatchError(f"{type(cell).__name__} has no gate {gate!r} to clamp; it has {known}")
    lowest = -1.0 if gate == "candidate" else 0.0
    if not lowest <= value <= 1:
        raise WatchError(f"clamp: {gate}={value:g} is not between {lowest:g} and 1")
    chunk = {"keep": "forget" if "forget" in cell.chunk_names else "update"}.get(gate, gate)
    start = {name: values.clone() for name, values in cell.state_dict().items()}
    for candidate in (value, 1 - value) if gate != "candidate" else (value,):
        cell.load_state_dict(start)
        if chunk in cell.chunk_names and _hold_rows(cell, chunk, candidate, units):
            held = _published(cell, gate)[..., units]
            if bool((held - value).abs().max() < 1e-6):
                return
    raise WatchError(f"the gate {gate} of {type(cell).__name__} is no function of its own weights alone")


def _hold_rows(cell: RecurrentLayer, chunk: str, value: float, units: list[int]) -> bool:
    """Set the weights of some units' gate to 0, and the bias; return whether the cell has such a bias."""
    count, place = len(cell.chunk_names), cell.chunk_names.index(chunk)
    rows = torch.tensor(units) + place * cell.hidden_size
    biases = []
    for name, parameter in cell.named_parameters():
        if len(parameter) != count * cell.hidden_size:
            continue
        parameter[rows] = 0
        if parameter.dim() == 1 and "bias" in name:
            biases.append(parameter)
    if not biases:
        return False
    inverse = _atanh if chunk == "candidate" else _logit
    biases[0][rows] = inverse(value)
    return True


def _logit(value: float) -> float:
    return math.log(value / (1 - value)) if 0 < value < 1 else math.copysign(SHUT, value - 0.5)


def _atanh(value: float) -> float:
    return math.atanh(value) if -1 < value < 1 else math.copysign(SHUT, value)


def _published(cell: RecurrentLayer, gate: str) -> Tensor:
    """Return a gate at some steps of a random input."""
    parameter = next(cell.parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, cell.input_size, generator=generator).to(parameter)
    return cell.gates(x, cell.trace(x))[gate]
