"""The check that losses are finite, for which the processor does not wait for a GPU."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

LONGEST_QUEUE = 32
"""Losses that are checked later at most; a loss that is not finite stops training within as many steps."""


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message contains the step and the last gradient norms."""


class Place(NamedTuple):
    """Where a loss was computed.

    Attributes:
        stage: train, validation or test.
        step: Number of updates before it.
        epoch: Number of epochs before it.
    """

    stage: str
    step: int
    epoch: int


class Ready(Protocol):
    """Part of `torch.cuda.Event`."""

    def query(self) -> bool:
        """Return whether the device has reached the event."""

    def synchronize(self) -> None:
        """Wait until the device has reached the event."""


@dataclass(frozen=True)
class _Copy:
    """A loss on its way from the device."""

    value: Tensor
    ready: Ready
    place: Place


class FiniteLossCheck:
    """Finds the first loss that is not finite.

    On a CPU a loss is checked at once. A GPU computes it later than the program that asks for it, and waiting
    for it in each step would leave the GPU idle until the next operations arrive. There the loss is copied in
    the background and checked in a later step, at the latest by `flush`.
    """

    def __init__(self) -> None:
        self._copies: deque[_Copy] = deque()

    def add(self, loss: Tensor, place: Place) -> tuple[float, Place] | None:
        """Check a loss, or begin to.

        Args:
            loss: The loss of a batch, of shape ().
            place: Where it was computed.

        Returns:
            The first loss that is known not to be finite, and its place; None if there is none.
        """
        if not runs_behind(loss):
            return None if math.isfinite(value := loss.item()) else (value, place)
        self._copies.append(_Copy(*copied(loss), place))
        while self._copies and (len(self._copies) > LONGEST_QUEUE or self._copies[0].ready.query()):
            if (found := self._first()) is not None:
                return found
        return None

    def flush(self) -> tuple[float, Place] | None:
        """Check all losses that are left; returns what `add` does."""
        while self._copies:
            if (found := self._first()) is not None:
                return found
        return None

    def _first(self) -> tuple[float, Place] | None:
        copy = self._copies.popleft()
        copy.ready.synchronize()
        value = copy.value.item()
        return None if math.isfinite(value) else (value, copy.place)


def runs_behind(loss: Tensor) -> bool:
    """Return whether a loss is computed after the operations that compute it were called."""
    return loss.device.type == "cuda"


def copied(loss: Tensor) -> tuple[Tensor, Ready]:
    """Begin to copy a loss from a GPU; returns the copy, and the event after which it is valid."""
    value = torch.empty((), dtype=loss.dtype, pin_memory=True)
    value.copy_(loss, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return value, ready
