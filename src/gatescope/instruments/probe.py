"""The probe: one pass of a model over a fixed batch, with everything that instruments measure.

Protocol (docs/instruments.md, "Measurements on gradients"): eval mode, float32, no autograd through time. The
output of the top layer becomes a leaf tensor, head and loss are computed from it, and the adjoint starts from
∂L/∂output. The model's mode, gradients, parameters and random state do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import Adjoint
from gatescope.models.encoder import Prediction, SequenceModel
from gatescope.models.traces import LayerTrace
from gatescope.sequences import Batch, TaskSpec, valid_mask

Loss = Callable[[Tensor, Tensor], Tensor]
"""(values, targets) -> the loss of the objective, (B,) or ()."""


@dataclass
class Probe:
    """What probe instruments read; `probe_model` creates it.

    Attributes:
        step: number of updates so far.
        model: the model.
        batch: the fixed batch.
        embedded: (B, T, D), the embedded inputs.
        outputs: (B, T, S), the states of the top layer.
        layers: the trace of each layer and direction, by name ("layer0", "layer0_backward", …).
        attention: (B, heads, T), or (B, U, heads, T) for a decoder; None without attention.
        loss: mean loss L of the batch.
        output_grad: (B, T, S), ∂L/∂output of the top layer.
        tokens: the tokens of each sequence; None for features.
        alignment: (B, U, T) bool, the source steps of each target step; None where the data do not know them.
        tested: whether these are the weights that the test evaluates, and not weights during training.
        train: returns at most so many examples of the train split; None where there is no dataset.
    """

    step: int
    model: SequenceModel
    batch: Batch
    embedded: Tensor
    outputs: Tensor
    layers: dict[str, LayerTrace]
    attention: Tensor | None
    loss: float
    output_grad: Tensor
    tokens: list[list[str]] | None = None
    alignment: Tensor | None = None
    tested: bool = False
    train: Callable[[int], Batch] | None = None

    @property
    def task(self) -> TaskSpec:
        """The task of the model."""
        return self.model.task

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool, true at valid positions."""
        return valid_mask(self.batch.lengths, self.outputs.shape[1])

    @cached_property
    def gates(self) -> dict[str, dict[str, Tensor]]:
        """Gates by layer and gate name, (B, T, H) each, in the time order of the layer."""
        with undisturbed(self.model), torch.no_grad():
            return {name: layer.cell.gates(layer.x, layer.states) for name, layer in self.layers.items()}

    @cached_property
    def adjoints(self) -> dict[str, Adjoint]:
        """Exact ∂L/∂state by layer, in the time order of the layer."""
        with undisturbed(self.model), torch.no_grad():
            return self.model.stack.adjoint(self.layers, self.output_grad)

    @cached_property
    def top_output_grads(self) -> dict[str, Tensor]:
        """∂L/∂output of each direction of the top layer, (B, T, H), in the time order of the layer."""
        directions = self.model.stack.directions
        names = list(self.layers)[-directions:]
        parts = self.output_grad.chunk(directions, dim=-1)
        return {name: self.layers[name].align_time(part) for name, part in zip(names, parts, strict=True)}

    @property
    def last_output_grad(self) -> Tensor:
        """∂L/∂output at the last step of each direction of the top layer, (B, S)."""
        rows = torch.arange(len(self.batch.lengths), device=self.output_grad.device)
        parts = [part[rows, self.batch.lengths - 1] for part in self.top_output_grads.values()]
        return torch.cat(parts, dim=-1)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Set eval mode and full float32 (no autocast, no TF32); restore the mode of every module on exit."""
    modes = [(module, module.training) for module in model.modules()]
    device = next((p.device.type for p in model.parameters()), "cpu")
    precision = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    exact = cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)
    model.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False), exact:
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes:
            module.training = training


def probe_model(model: SequenceModel, batch: Batch, loss: Loss, step: int = 0) -> Probe:
    """Run a model on a batch and record its layers, attention, loss and ∂L/∂output.

    Args:
        model: the model, which stays unchanged.
        batch: the batch, which is moved to the device of the model.
        loss: the loss of the objective.
        step: number of updates so far.
    """
    batch = batch.to(model.device)
    with undisturbed(model):
        with torch.no_grad():
            embedded, outputs, layers = model.trace(batch)
        prediction, value, output_grad = readout_gradient(
            model, outputs, batch.lengths, lambda values: loss(values, batch.targets).mean(), batch.targets
        )
        weights = None if prediction.attention is None else prediction.attention.detach()
        return Probe(step, model, batch, embedded, outputs, layers, weights, value.item(), output_grad)


def readout_gradient(
    model: SequenceModel,
    states: Tensor,
    lengths: Tensor,
    function: Callable[[Tensor], Tensor],
    targets: Tensor | None = None,
) -> tuple[Prediction, Tensor, Tensor]:
    """Compute a function of the prediction and its gradient at the states of the top layer.

    Args:
        model: the model.
        states: (B, T, S).
        lengths: (B,).
        function: maps the values of the prediction to a scalar, or to one number for each example.
        targets: true targets, for models with teacher forcing.

    Returns:
        The prediction, the value of the function without its graph, and the gradient (B, T, S) of its sum:
        0 where the function does not depend on the states.
    """
    with torch.enable_grad():
        leaf = states.detach().requires_grad_()
        prediction = model.readout(leaf, lengths, targets)
        value = function(prediction.values)
        gradient = None
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    return prediction, value.detach(), torch.zeros_like(states) if gradient is None else gradient
