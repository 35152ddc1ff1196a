"""What a model reads features through, before the recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gatescope.sequences import TaskSpec


class Front(nn.Module):
    """Base class: maps the features of each step, (B, T, F) -> (B, T, output_size).

    Attributes:
        output_size: width of what the recurrent stack reads.
    """

    output_size: int


FrontFactory = Callable[[TaskSpec], Front]
"""Builds a front from the task of the data."""


class Convolution(Front):
    """Two 3×3 convolutions of each frame, each followed by a ReLU and 2×2 max pooling, and a linear map.

    The frames of a batch are independent, padding included. The second convolution has twice the channels of
    the first, as in LeCun et al. 1998 and after.

    Args:
        task: its `image` has the rows and columns of a frame.
        channels: channels of the first convolution.
        size: width of the result.

    Raises:
        ValueError: the inputs are no images, or smaller than 4×4.
    """

    def __init__(
        self,
        task: TaskSpec,
        channels: Annotated[int, Field(ge=1)] = 16,
        size: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__()
        if task.inputs != "features" or not task.image:
            raise ValueError(
                "front: given conv, and the time steps of these data are no images: use front=none, "
                "or data of images such as moving_digits"
            )
        rows, columns = task.image
        if min(rows, columns) < 4:
            raise ValueError(
                f"front: given conv, and images of {rows}×{columns} are smaller than 4×4: use front=none"
            )
        self.image, self.output_size = (rows, columns), size
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * channels * (rows // 4) * (columns // 4), size),
            nn.ReLU(),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Read frames (B, T, rows · columns)."""
        batch, steps = inputs.shape[:2]
        frames = inputs.reshape(batch * steps, 1, *self.image)
        return self.layers(frames).view(batch, steps, self.output_size)
