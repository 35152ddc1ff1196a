"""The recursion of the adjoint: from the last step of a pass to the first.

What reaches state_t from outside is added to what step t + 1 returns, and the vector-Jacobian product of step
t gives what reaches state_{t-1} (Werbos 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from gatescope.cells.adjoint import StepDerivatives
from gatescope.cells.log_scaled import add_scaled, rescale
from gatescope.cells.recursion_graph import RecursionInputs, graphs_of
from gatescope.cells.scan import has_kernel
from gatescope.cells.state import Block, State, States, last_index
from gatescope.cells.tensors import by_step

STEPS_PER_BLOCK = 16
"""Steps that are linearised at once; their tensors fit the cache of a processor."""


def reverse_pass(
    layer: StepDerivatives,
    x: Tensor,
    states: States,
    output_grad: Tensor | None,
    last: State | None,
    renormalise: bool,
    output_grad_log_scale: Tensor | None,
) -> tuple[Tensor, Tensor, list[Block]]:
    """Run the recursion from the last step to the first.

    The arguments are those of `RecurrentLayer.adjoint`.

    Returns:
        What reaches each state from later steps and from outside (T, B, H or 2H), the logarithm of its scale
        (B, T) float64, and the linearised steps.
    """
    outside = _outside_grads(states, output_grad, last)
    blocks = linearised_blocks(layer, x, states)
    if layer.is_diagonal and not renormalise and has_kernel(x.device):
        return *_reverse_scan(outside[0], blocks), blocks
    outside_log = outside[0].new_zeros(outside[0].shape[:2], dtype=torch.float64)
    if output_grad_log_scale is not None:
        outside_log = output_grad_log_scale.to(torch.float64)
    present = torch.stack([(part != 0).any(-1).any(0) for part in outside]).any(0).tolist()
    run = partial(_recursion, present=present, renormalise=renormalise)
    inputs = RecursionInputs([step for block in blocks for step in block.steps], outside, outside_log)
    return *graphs_of(layer).run((renormalise, *present), run, layer, inputs), blocks


def _recursion(
    layer: StepDerivatives, inputs: RecursionInputs, present: Sequence[bool], renormalise: bool
) -> tuple[Tensor, Tensor]:
    """Run all steps.

    Args:
        layer: the layer.
        inputs: what the steps read.
        present: whether a gradient enters from outside, for each step.
        renormalise: whether to keep the gradient at each step at a magnitude near 1.

    Returns:
        What reaches each state (T, B, H or 2H), and the logarithm of its scale (B, T) float64.
    """
    steps, outside, outside_log = inputs
    size = layer.hidden_size * (2 if layer.has_memory_cell else 1)
    state_grad = outside[0].new_empty(len(steps), len(outside[0]), size)
    grad = torch.zeros_like(state_grad[0])
    log = torch.zeros_like(outside_log[:, 0])
    logs: list[Tensor] = [log] * len(steps)
    for t in reversed(range(len(steps))):
        if present[t]:
            entering = torch.zeros_like(grad)
            for place, part in zip(entering.split(layer.hidden_size, -1), outside, strict=False):
                place.copy_(part[:, t])
            if renormalise:
                grad, log = add_scaled(grad, log, entering, outside_log[:, t])
            else:
                grad = grad + entering
        elif renormalise:
            grad, log = rescale(grad, log)
        state_grad[t], logs[t] = grad, log
        grad = layer.state_vjp(grad, steps[t])
    return state_grad, torch.stack(logs, dim=1)


def _reverse_scan(outside: Tensor, blocks: list[Block]) -> tuple[Tensor, Tensor]:
    """Return what `_recursion` returns, for a diagonal layer on a GPU: one launch for all steps."""
    from gatescope.cells.kernels.gpu.scan import scan

    keep = torch.stack([step["keep"] for block in blocks for step in block.steps], dim=1)
    grad = scan(keep.to(outside.dtype), outside, None, back=True)
    return grad.transpose(0, 1), grad.new_zeros(grad.shape[:2], dtype=torch.float64)


def _outside_grads(states: States, output_grad: Tensor | None, last: State | None) -> list[Tensor]:
    """Return the gradients from outside the layer (B, T, H), at h, and at c where there are any."""
    mask = states.mask
    if output_grad is None:
        output_grad = torch.zeros_like(states.h)
    # A wrong value at padding, even NaN, would propagate to every step of the sequence.
    outside = [output_grad if mask is None else output_grad.masked_fill(~mask[..., None], 0)]
    if last is None:
        return outside
    rows, end = torch.arange(len(output_grad), device=output_grad.device), last_index(states)
    for position, part in enumerate(part for part in last if part is not None):
        whole = outside.pop(0).clone() if position == 0 else torch.zeros_like(output_grad)
        whole[rows, end] += part
        outside.append(whole)
    return outside


def linearised_blocks(layer: StepDerivatives, x: Tensor, states: States) -> list[Block]:
    """Linearise a pass block by block, or return the blocks of an earlier call on the same pass."""
    blocks = states.cache.blocks
    if not blocks:
        memory = layer.memory(x, states)
        for start in range(0, x.shape[1], STEPS_PER_BLOCK):
            stop = min(start + STEPS_PER_BLOCK, x.shape[1])
            saved = layer.linearise(x[:, start:stop], states.slice_time(start, stop, memory))
            blocks.append(Block(start, saved, by_step(layer.prepare_vjp(saved))))
    return blocks
