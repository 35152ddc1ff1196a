"""An instrument that tells what the processes of a run communicate with."""

from __future__ import annotations

import torch

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements, Scalar
from gatescope.instruments.probe import Probe


class Backend(ProbeInstrument):
    """`backend`: 1 where torch.distributed runs on the expected backend."""

    def __init__(self, expected: str) -> None:
        self.expected = expected

    def read(self, probe: Probe) -> Measurements:
        is_running = torch.distributed.is_initialized()
        found = torch.distributed.get_backend() if is_running else None
        return {"backend": Scalar(float(found == self.expected))}
