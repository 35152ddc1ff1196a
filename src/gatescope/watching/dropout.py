"""The dropout between the layers of a module, drawn again from the state of the random numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

from gatescope.watching.capture import Call
from gatescope.watching.copies import readable


def draw_masks(call: Call, width: int, count: int) -> list[Tensor]:
    """Draw the dropout between the layers of a pass again.

    Args:
        call: the pass.
        width: size of the output of a layer.
        count: number of masks.

    Returns:
        What each output was multiplied by, (B, T, width) each.
    """
    batch_size, steps = call.x.shape[:2]
    assert call.random_state is not None
    device = call.x.device
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        if on_gpu:
            torch.cuda.set_rng_state(call.random_state, device)
        else:
            torch.set_rng_state(call.random_state)
        # Torch runs a layer over (T, B, width), and over the packed values where there are any.
        if call.packing is not None:
            ones = torch.ones(int(call.packing.lengths.sum()), width, dtype=call.output.dtype, device=device)
        else:
            ones = torch.ones(steps, batch_size, width, dtype=call.output.dtype, device=device)
        masks = [dropout(ones, call.dropout) for _ in range(count)]
    pad = call.packing.pad if call.packing is not None else None
    return [readable(mask.transpose(0, 1) if pad is None else pad(mask)) for mask in masks]
