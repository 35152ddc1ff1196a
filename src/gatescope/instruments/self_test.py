"""Whether the adjoint is right, asked at run time: its weight gradients against autograd's through the fused
kernels, and the recomputed memory cell against the kernel's own last one (INSTRUMENTS.md §2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from gatescope.cells.base import Adjoint, last_index
from gatescope.cells.kernels.layer import NativeLayer
from gatescope.instruments.probe import Probe
from gatescope.instruments.readings import Readings, Scalar, Undefined, scalar
from gatescope.models.attention import last_state
from gatescope.models.stack import LayerTrace, RecurrentStack

TOLERANCE = 1e-4
EXAMPLES = 4
"""Sequences of the probe that are asked: a wrong equation is as wrong on four as on all of them."""


def weight_gradient_error(probe: Probe, last: Tensor, adjoints: dict[str, Adjoint]) -> Scalar | Undefined:
    """Largest relative error over layers of the adjoint's gradients of the input and recurrent weights, on
    the first `EXAMPLES` sequences.

    `adjoints` are those of `last` (B, S), the gradient at each direction's last output. Nothing is written to
    any `.grad`; the caller sets eval mode.
    """
    stack = probe.model.stack
    parameters = [p for p in stack.parameters() if p.requires_grad]
    if not parameters:
        return Undefined("no parameter of the stack trains")
    # cuDNN refuses a backward pass in eval mode.
    lengths = probe.batch.lengths[:EXAMPLES]
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False), on_torch(stack):
        output = stack(probe.embedded[:EXAMPLES], lengths)
        ends = last_state(output, lengths, stack.directions == 2)
        found = torch.autograd.grad(ends, parameters, last[:EXAMPLES], allow_unused=True)
    truth = {id(p): g for p, g in zip(parameters, found, strict=True) if g is not None}
    errors = [
        error
        for name, layer in probe.layers.items()
        if (error := _layer_error(layer, adjoints[name].first(EXAMPLES), truth)) is not None
    ]
    if not errors:
        return Undefined("no gradient reaches the weights")
    if not all(math.isfinite(error) for error in errors):
        return Undefined("overflow in the gradient")
    return Scalar(max(errors))


@contextmanager
def on_torch(stack: RecurrentStack) -> Iterator[None]:
    """Within: torch's own kernels, which know nothing of ours."""
    layers = [layer for layer in stack.modules() if isinstance(layer, NativeLayer)]
    kernels = [layer.kernel for layer in layers]
    for layer in layers:
        layer.kernel = "torch"
    try:
        yield
    finally:
        for layer, kernel in zip(layers, kernels, strict=True):
            layer.kernel = kernel


def _layer_error(layer: LayerTrace, adjoint: Adjoint, truth: dict[int, Tensor]) -> float | None:
    parameters = [p for p in layer.cell.parameters() if id(p) in truth]
    scale = adjoint.log_scale.exp()[..., None].to(adjoint.deltas.dtype)
    with torch.enable_grad():
        weights = [(layer.cell.input_weights, adjoint.deltas * scale, layer.x[:EXAMPLES])]
        if layer.cell.recurrent_weights is not None:
            recurrent = (layer.cell.recurrent_weights, adjoint.recurrent_deltas * scale)
            weights.append((*recurrent, layer.states.previous_h[:EXAMPLES]))
        weights = [(w, d, x) for w, d, x in weights if w.requires_grad]
        if not weights or not parameters:
            return None
        # A cell may compose its weights from several parameters: the last stretch to those is autograd's.
        ours = torch.autograd.grad(
            [w for w, _, _ in weights],
            parameters,
            [d.flatten(0, 1).T @ x.detach().flatten(0, 1) for _, d, x in weights],
            allow_unused=True,
        )
    pairs = [(g, truth[id(p)]) for p, g in zip(parameters, ours, strict=True) if g is not None]
    size = torch.stack([t.norm() for _, t in pairs]).norm().item()
    error = torch.stack([(g - t).norm() for g, t in pairs]).norm().item()
    return error / size if size else None


def memory_error(name: str, layer: LayerTrace) -> Readings:
    """`gradient_flow/<layer>/memory_error`: relative error of the recomputed c_T; {} where no c is hidden."""
    fused = getattr(layer.cell, "fused", None)
    if not isinstance(fused, nn.LSTM):
        return {}
    lengths = (last_index(layer.states) + 1).cpu()
    packed = pack_padded_sequence(layer.x, lengths, batch_first=True, enforce_sorted=False)
    initial = layer.states.initial
    assert initial.c is not None
    truth = fused(packed, (initial.h[None], initial.c[None]))[1][1][0]
    found = layer.cell.final(layer.x, layer.states).c
    assert found is not None
    size = truth.norm().item()
    error = scalar((found - truth).norm().item() / size) if size else Undefined("the memory cell stays 0")
    return {f"gradient_flow/{name}/memory_error": error}
