"""A recurrent layer whose state is replaced, of some units at some steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatescope.cells import derived
from gatescope.cells.adjoint import Adjoint, StepVjp
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.lstm import LSTM
from gatescope.cells.state import State, States
from gatescope.cells.tensors import padded_lengths, reverse_within
from gatescope.watching.errors import WatchError
from gatescope.watching.labelled import Labelled


class ClampedLayer(RecurrentLayer):
    """A layer whose state is replaced by given values, of some units at some steps.

    The derivatives follow from `step`, which reads what is replaced as a further input.

    Args:
        inner: the layer.
        values: what replaces "h" or "c": a number, or an array of another trace.
        units: the units.
        steps_held: the steps, in the order of the model's input.
        place: depth and direction of the layer.
        lengths: (B,) of the batch.
        steps: T of the batch.
    """

    def __init__(
        self,
        inner: RecurrentLayer,
        values: Mapping[str, Any],
        units: list[int],
        steps_held: list[int],
        place: tuple[int, str],
        lengths: Tensor,
        steps: int,
    ) -> None:
        super().__init__(inner.input_size, inner.hidden_size)
        self.inner = inner
        self.gate_names, self.chunk_names = inner.gate_names, inner.chunk_names  # type: ignore[misc]
        self.has_memory_cell = inner.has_memory_cell  # type: ignore[misc]
        if "c" in values and not isinstance(inner, LSTM):
            raise WatchError(
                f"{type(inner).__name__} has no memory to clamp; an LSTM has, and all have state"
            )
        self.held = tuple(values)
        parts = []
        for part, replacement in values.items():
            given = _given(
                part, replacement, place, torch.Size((len(lengths), steps, inner.hidden_size)), steps_held
            )
            chosen = torch.zeros_like(given)
            chosen[:, [[t] for t in steps_held], units] = 1
            parts += [chosen * given.isfinite(), given.nan_to_num()]
        extra = torch.cat(parts, dim=-1).to(next(inner.parameters()))
        if place[1] == "backward":
            extra = reverse_within(extra, lengths.to(extra.device))
        self.register_buffer("extra", extra)
        self.extra: Tensor

    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state with what replaces it; x_t has 2H more values for each part that is held."""
        x_t, extra = x_t[..., : self.input_size], x_t[..., self.input_size :]
        chunks = iter(extra.split(self.hidden_size, dim=-1))
        held = {part: (next(chunks) > 0, next(chunks)) for part in self.held}
        h, c = self.inner.step(x_t, state)
        if "c" in held and c is not None:
            c = torch.where(*held["c"], c)
            gates = self.inner.gates(x_t[:, None], States(h[:, None], state, None, c[:, None]))
            h = gates["output"][:, 0] * torch.tanh(c)
        return State(torch.where(*held["h"], h) if "h" in held else h, c)

    def _augmented(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.input_size:
            return x
        return torch.cat([x, self.extra[:, : x.shape[1]]], dim=-1)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Run the layer; see `RecurrentLayer.forward`."""
        initial = self.zero_state(x) if state is None else state
        return derived.forward(self.step, self._augmented(x), padded_lengths(lengths, x.shape[1]), initial)

    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step."""
        return self.inner.gates(x[..., : self.input_size], states)

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the arguments of every step."""
        return super().linearise(self._augmented(x), states)

    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the vector-Jacobian product of a step."""
        step = super().vjp(state_grad, saved)
        assert step.inputs is not None
        return step._replace(inputs=step.inputs[..., : self.input_size])

    def adjoint(self, x: Tensor, states: States, output_grad: Tensor | None, **options: Any) -> Adjoint:
        """Return the exact gradient at every state; see `RecurrentLayer.adjoint`."""
        return super().adjoint(self._augmented(x), states, output_grad, **options)


def _given(part: str, value: Any, place: tuple[int, str], shape: torch.Size, steps_held: list[int]) -> Tensor:
    """Return what replaces the states of one layer, (B, T, H); NaN where there is nothing."""
    full = torch.full(shape, math.nan)
    if isinstance(value, int | float):
        return full.fill_(float(value))
    if not isinstance(value, Labelled):
        raise WatchError(f"clamp: {part} takes a number, or the states of another trace: .states['{part}']")
    states = value.sel(layer=place[0], direction=place[1]).values.to(full)
    if len(states) not in (1, shape[0]) or states.shape[-1] != shape[-1]:
        raise WatchError(
            f"clamp: states {tuple(states.shape)} do not fit {tuple(shape)} (example, step, unit)"
        )
    missing = [t for t in steps_held if t >= states.shape[1]]
    if missing:
        raise WatchError(
            f"clamp: the other trace has no step {missing[0]}, its steps are 0 to {states.shape[1] - 1}: "
            "choose some with step"
        )
    count = min(shape[1], states.shape[1])
    full[:, :count] = states[:, :count]
    return full
