"""What was measured of one module of torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from gatescope.instruments.probe import Probe
from gatescope.sequences import Batch
from gatescope.watching.capture import Call
from gatescope.watching.errors import WatchError
from gatescope.watching.merging import MergedPass, can_merge
from gatescope.watching.passes import Pass
from gatescope.watching.readings import Readings


class Watched(Readings):
    """Gates, states and gradients of one `nn.RNN`, `nn.GRU` or `nn.LSTM`, in one forward pass of the model.

    A module that was called several times is one pass where each call started from the last state of the call
    before it; otherwise take one of `calls`.

    Args:
        name: name of the module.
        recorded: its calls.
    """

    def __init__(self, name: str, recorded: Sequence[Call]) -> None:
        self.recorded = recorded
        super().__init__(name)

    @cached_property
    def layers(self) -> Pass | MergedPass:
        """The recorded layers.

        Raises:
            WatchError: the module was called several times, and the calls do not continue each other.
        """
        passes = [Pass(self.name, call) for call in self.recorded]
        if len(passes) == 1:
            return passes[0]
        if not can_merge(self.recorded):
            raise WatchError(
                f"{self.name} was called {len(passes)} times, and a call does not start from the last state "
                f"of the one before: choose one, .calls[0] to .calls[{len(passes) - 1}]"
            )
        return MergedPass(passes)

    @property
    def calls(self) -> list[Watched]:
        """Each call of the module on its own, in order."""
        return [Watched(f"{self.name} (call {i})", [call]) for i, call in enumerate(self.recorded)]

    @property
    def has_gradient(self) -> bool:
        """Whether a backward pass has reached the module."""
        return any(call.grads for call in self.recorded)

    def check_gradient(self) -> None:
        """Check that a backward pass has reached the module.

        Raises:
            WatchError: none has.
        """
        if self.has_gradient:
            return
        if not any(call.has_graph for call in self.recorded):
            why = "its forward pass ran without gradients (torch.no_grad, or requires_grad=False)"
            raise WatchError(f"{self.name}: {why}: run it with gradients and call backward")
        raise WatchError(
            f"{self.name}: backward has not been called inside the with block, or the loss does not depend "
            "on this module"
        )

    @property
    def states_error(self) -> float:
        """Relative difference of the recomputed states of the top layer from the module's own."""
        assert self.layers.traces
        return self.layers.output_error

    def probe(self) -> Probe:
        """Return the pass in the form that instruments read."""
        layers, model = self.layers, self.layers.model
        traces, inputs = dict(layers.traces), layers.inputs
        lengths = next(iter(traces.values())).lengths
        names = model.names(model.stack.depth - 1)
        outputs = torch.cat([traces[name].align_time(traces[name].states.h) for name in names], dim=-1)
        grad = layers.readout_grad if self.has_gradient else torch.zeros_like(outputs)
        batch = Batch(inputs, lengths, torch.zeros(len(inputs)), torch.arange(len(inputs)))
        return Probe(0, model, batch, inputs, outputs, traces, None, 0.0, grad)  # type: ignore[arg-type]
