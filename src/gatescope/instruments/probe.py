"""One look at a model on a fixed batch: every layer's inputs, states, gates and adjoint, attention, loss.

Protocol (INSTRUMENTS.md §3): eval mode, float32, no autograd through time; the top layer's output is made
a leaf, head and loss run on it, and the adjoint walks back from ∂L/∂output. Nothing of the model changes:
not its mode, gradients, parameters or random state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import Adjoint
from gatescope.models.encoder import SequenceModel
from gatescope.models.stack import LayerTrace
from gatescope.sequences import Batch, TaskSpec, valid_mask

Loss = Callable[[Tensor, Tensor], Tensor]
"""(values, targets) -> (B,) or () loss; the objective's own."""


@dataclass
class Probe:
    """What every probe instrument reads. Shapes as in `LayerTrace`; made by `look`.

    `direct` (B, T, S): ∂L/∂output of the top layer, L the mean loss over the batch.
    """

    step: int
    model: SequenceModel
    batch: Batch
    embedded: Tensor
    outputs: Tensor
    layers: dict[str, LayerTrace]
    attention: Tensor | None
    loss: float
    direct: Tensor
    tokens: list[list[str]] | None = None
    alignment: Tensor | None = None
    """(B, U, T) bool: the source steps that each target step is made from, where the data know."""

    @property
    def task(self) -> TaskSpec:
        return self.model.task

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool, true at valid positions."""
        return valid_mask(self.batch.lengths, self.outputs.shape[1])

    @cached_property
    def gates(self) -> dict[str, dict[str, Tensor]]:
        """Gates by layer and name, (B, T, H) each, in the layer's own time."""
        with undisturbed(self.model), torch.no_grad():
            return {name: layer.cell.gates(layer.x, layer.states) for name, layer in self.layers.items()}

    @cached_property
    def adjoints(self) -> dict[str, Adjoint]:
        """Exact ∂L/∂state by layer, in the layer's own time."""
        with undisturbed(self.model), torch.no_grad():
            return self.model.stack.adjoint(self.layers, self.direct)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode and full float32 (no autocast, no TF32) inside; every module's mode as it was afterwards."""
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


def look(model: SequenceModel, batch: Batch, loss: Loss, step: int = 0) -> Probe:
    """Makes a Probe; the model leaves as it came."""
    with undisturbed(model):
        with torch.no_grad():
            embedded, outputs, layers = model.trace(batch)
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            prediction = model.readout(leaf, batch.lengths, batch.targets)
            value = loss(prediction.values, batch.targets).mean()
        direct = None
        if value.requires_grad:
            (direct,) = torch.autograd.grad(value, leaf, allow_unused=True)
        weights = None if prediction.attention is None else prediction.attention.detach()
        direct = torch.zeros_like(outputs) if direct is None else direct
        return Probe(step, model, batch, embedded, outputs, layers, weights, value.item(), direct)
