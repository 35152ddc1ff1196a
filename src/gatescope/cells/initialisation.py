"""The start of a recurrent layer's weights, one gate's block at a time."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.cells.layer import RecurrentLayer

Initialisation = Literal["default", "orthogonal", "xavier"]
"""default: uniform within ±1/√H, as torch. orthogonal: each recurrent block orthogonal (Saxe et al. 2014),
each input block Xavier. xavier: each block Xavier (Glorot & Bengio 2010). Biases are 0 with the last two."""

LongestDependency = Annotated[int, Field(ge=3)]
"""T_max in steps, for `chrono_bias`."""


@torch.no_grad()
def initialise(layer: RecurrentLayer, how: Initialisation) -> None:
    """Initialise input weights, recurrent weights and biases in place.

    Args:
        layer: its weights consist of one block of H rows for each of `chunk_names`.
        how: "default" leaves the weights as the constructor has set them.
    """
    if how == "default":
        return
    chunks = len(layer.chunk_names)
    if layer.input_weights is not None:
        for block in layer.input_weights.chunk(chunks):
            nn.init.xavier_uniform_(block)
    if layer.recurrent_weights is not None:
        for block in layer.recurrent_weights.chunk(chunks):
            (nn.init.orthogonal_ if how == "orthogonal" else nn.init.xavier_uniform_)(block)
    for name, parameter in layer.named_parameters():
        if name.rpartition(".")[2].startswith("bias"):
            parameter.zero_()


@torch.no_grad()
def uniform_start(layer: nn.Module, fan_in: int) -> None:
    """Draw every parameter from U[-1/√fan_in, 1/√fan_in], as torch's recurrent modules and nn.Linear do."""
    for parameter in layer.parameters():
        parameter.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def chrono_bias(layer: RecurrentLayer, longest: int) -> Tensor:
    """Draw the bias (H,) of the gate that keeps the state: ln U[1, T_max - 1].

    Timescales then start spread over 1 … T_max steps (Tallec & Ollivier 2018, eq. 16).

    Args:
        layer: gives the size, type and device.
        longest: T_max in steps.
    """
    weight = layer.input_weights
    assert weight is not None
    return (
        torch.empty(layer.hidden_size, dtype=weight.dtype, device=weight.device)
        .uniform_(1, longest - 1)
        .log()
    )
