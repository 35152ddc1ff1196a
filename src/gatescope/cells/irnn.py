"""IRNN (Le, Jaitly & Hinton 2015): a ReLU network whose recurrent weights start as the identity.

h_t = relu(W x_t + b_ih + U h_{t-1} + b_hh),   U = scale · I, biases 0 and W ~ N(0, input_std²) at the start
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from gatescope.cells.kernels.layer import Kernel
from gatescope.cells.rnn import RNN


class IRNN(RNN):
    """A ReLU network that keeps its state, and the gradient, unchanged over any lag at the start of training.

    Args:
        input_size: D.
        hidden_size: H.
        recurrent_scale: start of U as a multiple of the identity. The paper takes 1, and 0.01 for short
            dependencies (its speech task).
        input_std: standard deviation of the normal start of the input weights.
        kernel: what the layer runs on; see `Kernel`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        recurrent_scale: Annotated[float, Field(gt=0)] = 1.0,
        input_std: Annotated[float, Field(gt=0)] = 0.001,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, nonlinearity="relu", kernel=kernel)
        w, u, b_ih, b_hh = self.weights
        with torch.no_grad():
            nn.init.normal_(w, std=input_std)
            u.copy_(recurrent_scale * torch.eye(hidden_size, dtype=u.dtype, device=u.device))
            b_ih.zero_()
            b_hh.zero_()
