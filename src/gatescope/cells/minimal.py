"""The common part of minGRU and minLSTM: no state enters a gate, so all steps are computed at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gatescope.cells.adjoint import StepVjp
from gatescope.cells.initialisation import Initialisation, initialise, uniform_start
from gatescope.cells.kernels.backends import KernelName
from gatescope.cells.kernels.layer import Kernel, NativeLayer
from gatescope.cells.scan import has_kernel, linear_recurrence, scan_log, scan_sequential
from gatescope.cells.state import State, States
from gatescope.cells.tensors import in_chunks, zero_padding


class MinimalLayer(NativeLayer):
    """A layer h_t = keep_t ⊙ h_{t-1} + written_t, where both terms are functions of x_t only.

    States start at 0, while the log-space code of the paper's appendix starts them at g(0) = 1/2. Nothing
    else differs from it.

    Args:
        input_size: D.
        hidden_size: H.
        initialisation: start of the weights. Without recurrent weights "orthogonal" is the same as "xavier".
        scan: what runs without a native kernel: "log", the paper's parallel scan in log space, or
            "sequential", the same states one step after the other.
        kernel: what the layer runs on; see `Kernel`.
    """

    is_diagonal: ClassVar[bool] = True

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
        """W (chunks·H, D)."""
        return self.weight_ih

    @property
    def recurrent_weights(self) -> None:
        """None: there are none."""
        return None

    def preactivations(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return W x + b by chunk: (…, D) -> (…, H) for each of `chunk_names`."""
        return linear(x, self.weight_ih, self.bias).chunk(len(self.chunk_names), dim=-1)

    @abstractmethod
    def equations(self, *preactivations: Tensor) -> tuple[Tensor, ...]:
        """Return the share kept, the candidate h~, the share written, and what else `linearise` needs.

        The share written is computed by itself: 1 - keep is only rounding error where it is near 0.

        Args:
            preactivations: results of `preactivations`, (…, H) each.
        """

    @abstractmethod
    def log_scan(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ln keep and ln written: (B, T, D) -> (B, T, H) each."""

    def _all_steps(self, x: Tensor, states: States) -> tuple[Tensor, ...]:
        """Return `equations` at every step, (B, T, H) each."""
        return states.cache.memoize("equations", lambda: self.equations(*self.preactivations(x)))

    def kernel_on(self, device: torch.device) -> KernelName:
        """Return what a pass on a device runs on; on a GPU a scan of its own."""
        name = super().kernel_on(device)
        return "triton" if name == "torch" != self.kernel and has_kernel(device) else name

    def _torch_forward(self, x: Tensor, lengths: Tensor | None, initial: State) -> States:
        return States(zero_padding(self._scan(x, initial.h), lengths), initial, lengths)

    def _scan(self, x: Tensor, initial: Tensor) -> Tensor:
        on_kernel = self.kernel_on(x.device) == "triton"
        if self.scan == "log" and not on_kernel:
            return in_chunks(lambda x, h: (scan_log(*self.log_scan(x), h),), x, initial)[0]
        keep, candidate, written, *_ = self.equations(*self.preactivations(x))
        run = linear_recurrence if on_kernel else scan_sequential
        return run(keep, written * candidate, initial)

    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the vector-Jacobian product of a step."""
        a = state_grad.h
        delta = torch.cat([a * saved[f"to_{name}"] for name in self.chunk_names], dim=-1)
        previous = State(a * saved["keep"])
        return StepVjp(previous, state_grad, delta=delta, recurrent_delta=delta[..., :0])

    def prepare_vjp(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the share kept."""
        return {"keep": saved["keep"]}

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return ∂L/∂h_{t-1} (…, H)."""
        return state_grad * prepared["keep"]

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """Return the Jacobian-vector product of a step."""
        return State(saved["keep"] * tangent.h)
