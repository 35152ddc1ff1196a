"""The recorded forward and backward passes of one recurrent layer and direction."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import States, last_index
from gatescope.cells.tensors import reverse_within


@dataclass
class LayerTrace:
    """The forward pass of one layer and direction, in the time order of the layer.

    The backward direction of a bidirectional layer reads each sequence reversed within its length. Its trace
    is in that reversed order; `align_time` converts it.

    Attributes:
        cell: the layer.
        x: (B, T, D), its input.
        states: its states.
        backward: whether it is the backward direction.
    """

    cell: RecurrentLayer
    x: Tensor
    states: States
    backward: bool

    @property
    def lengths(self) -> Tensor:
        """(B,): the length of each sequence."""
        return last_index(self.states) + 1

    def align_time(self, values: Tensor) -> Tensor:
        """Convert values (B, T, …) between the time order of the layer and that of the model's input.

        The conversion is its own inverse: for the backward direction it reverses each sequence within its
        length, for the forward direction it changes nothing.
        """
        if not self.backward:
            return values
        if values.dim() == 2:
            return reverse_within(values[..., None], self.states.lengths)[..., 0]
        return reverse_within(values, self.states.lengths)

    def to_layer_below(self, input_grad: Tensor) -> Tensor:
        """Convert ∂L/∂x (B, T, D) to the gradient at the output of the layer below, which x is in a stack.

        Args:
            input_grad: in the time order of the model's input; of all examples, or of the first ones.
        """
        return input_grad


@dataclass
class LayerPass:
    """The forward and backward pass of one layer and direction in training.

    Attributes:
        trace: the forward pass.
        gates: (B, T, H) by gate name.
        adjoint: exact ∂L/∂state, with L the loss that was minimised.
    """

    trace: LayerTrace
    gates: dict[str, Tensor]
    adjoint: Adjoint
