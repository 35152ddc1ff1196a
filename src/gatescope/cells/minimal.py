"""What minGRU and minLSTM share: no state enters a gate, so all steps are computed at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gatescope.cells.base import State, States, StepVjp, in_blocks
from gatescope.cells.fused import zero_padding
from gatescope.cells.initialisation import Initialisation, initialise, uniform_start
from gatescope.cells.kernels.layer import Kernel, NativeLayer
from gatescope.cells.scan import scan_log, scan_sequential


class MinimalLayer(NativeLayer):
    """h_t = keep_t ⊙ h_{t-1} + written_t, both functions of x_t alone.

    States start at 0. The paper's appendix starts them at g(0) = 1/2 in its log-space form; nothing else
    differs from it.

    Args:
        initialisation: there are no recurrent weights: orthogonal is the same as xavier here.
        scan: log, the paper's parallel scan in log space, or sequential, the same states a step at a time:
            what torch does; the native kernel goes step by step.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        initialisation: Initialisation = "default",
        scan: Literal["log", "sequential"] = "log",
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel)
        self.scan = scan
        rows = len(self.chunk_names) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.bias = nn.Parameter(torch.empty(rows))
        uniform_start(self, fan_in=input_size)
        initialise(self, initialisation)

    @property
    def input_weights(self) -> Tensor:
        return self.weight_ih

    @property
    def recurrent_weights(self) -> None:
        return None

    def preactivations(self, x: Tensor) -> tuple[Tensor, ...]:
        """(…, D) -> one (…, H) for each of `chunk_names`."""
        return linear(x, self.weight_ih, self.bias).chunk(len(self.chunk_names), dim=-1)

    @abstractmethod
    def equations(self, *fed: Tensor) -> tuple[Tensor, ...]:
        """`preactivations` -> the share kept, the candidate h~, the share written, of which 1 - kept would be
        nothing but rounding near 0, and what else `linearise` asks for; (B, T, H) each."""

    def _all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        return states.once("equations", lambda: self.equations(*self.preactivations(x)))

    @abstractmethod
    def log_scan(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> ln keep and ln written, (B, T, H) each."""

    def _torch_forward(self, x: Tensor, lengths: Tensor | None, initial: State) -> States:
        return States(zero_padding(self._scan(x, initial.h), lengths), initial, lengths)

    def _scan(self, x: Tensor, initial: Tensor) -> Tensor:
        if self.scan == "log":
            return in_blocks(lambda x, h: (scan_log(*self.log_scan(x), h),), x, initial)[0]
        keep, candidate, written, *_ = self.equations(*self.preactivations(x))
        return scan_sequential(keep, written * candidate, initial)

    def vjp(self, adjoint: State, saved: dict[str, Tensor]) -> StepVjp:
        a = adjoint.h
        delta = torch.cat([a * saved[f"to_{name}"] for name in self.chunk_names], dim=-1)
        return StepVjp(delta, delta[..., :0], State(a * saved["keep"]), adjoint)

    def for_pull_back(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"keep": saved["keep"]}

    def pull_back(self, adjoint: Tensor, saved: dict[str, Tensor]) -> Tensor:
        return adjoint * saved["keep"]

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        return State(saved["keep"] * tangent.h)
