"""Time of the exact adjoint of one layer on a GPU, in four forms that give the same values.

recursion   `RecurrentLayer.adjoint` with kernel=torch, T steps of a few operations each.
graph       the same in a CUDA graph, as it is computed where there is no Triton kernel.
identity    torch's module with input weights [W, I] and zeros as further inputs: its backward pass returns
            the gradients at the pre-activations, from which the adjoint follows by one matrix product and a
            scan. It cannot renormalise: the fused backward pass has one scale for all steps.
native      `adjoint` with kernel=native, after `trace`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.gpu_recurrence import layer_of, training_step, use_kernel
from benchmarks.gpu_result import RESULTS, Case, GPUResult, NotAvailable, device_of, run_cases
from benchmarks.gpu_timing import tf32, timed, wall
from benchmarks.recurrence_speed import case_of
from benchmarks.setting import Size
from gatescope.cells import recursion_graph
from gatescope.cells.state import State, States
from gatescope.cells.tensors import shift

QUESTION = (
    "forward pass of one layer and the exact gradients at all its states, in float32 without TF32, from the "
    "gradient at its outputs. recursion: step by step; graph: the same in a CUDA graph (capture_s: the "
    "call that captures it, not counted); identity: torch's module with inputs that carry the gradients at "
    "the pre-activations; native: kernel=native. ms: median; worst_error: difference from the recursion, "
    "relative to the largest gradient; ratio: over a training step of the layer"
)
SIZES = (Size(200, 64, 128, 128), Size(200, 64, 512, 512), Size(784, 64, 1, 128))
SMALL = (Size(6, 4, 3, 5),)


class Result(NamedTuple):
    """∂L/∂state of every step (B, T, H) each, to be multiplied by exp(`log_scale`) (B, T)."""

    state: State
    log_scale: Tensor


Form = Callable[[Tensor, Tensor], Result]
"""Maps x (B, T, D) and the gradient at the outputs (B, T, H) to the adjoint."""


def measure(
    device: str = "cuda",
    seconds: float = 35.0,
    out: Path = RESULTS,
    after: int = 0,
    cells: tuple[str, ...] = ("gru", "lstm"),
    sizes: tuple[Size, ...] | None = None,
) -> GPUResult:
    """Run the benchmark."""
    where = device_of(device)
    sizes = sizes or (SIZES if device == "cuda" else SMALL)
    settings = {"sizes": [asdict(size) for size in sizes]}
    result = GPUResult("gpu_adjoint", QUESTION, settings, device=device, seconds=seconds)
    return run_cases(result, list(cases(result, where, cells, sizes)), out, after)


def cases(
    result: GPUResult, device: torch.device, cells: tuple[str, ...], sizes: tuple[Size, ...]
) -> Iterator[Case]:
    """Yield the cases."""
    for renormalise in (False, True):
        for size in sizes:
            for cell in cells:
                for form in FORMS:
                    name = case_of(cell, size) + (", renormalised" if renormalise else "")
                    add = partial(add_row, result, name, form, cell, size, renormalise, device)
                    yield Case(f"{name}, {form}", add)


def add_row(
    result: GPUResult, name: str, form: str, cell: str, size: Size, renormalise: bool, device: torch.device
) -> None:
    """Measure one form of one case and add its row.

    Raises:
        NotAvailable: The form cannot renormalise, or the native kernel does not run here.
    """
    torch.manual_seed(0)
    x = torch.randn(size.batch, size.steps, size.inputs, device=device)
    output_grad = torch.randn(size.batch, size.steps, size.hidden, device=device)
    with tf32(False):
        step = seconds_of_step(cell, size, device)
        adjoint = FORMS[form](cell, size, x, renormalise)
        timing = timed(lambda: adjoint(x, output_grad), device)
        expected = by_recursion(cell, size, x, renormalise)(x, output_grad)
        error = worst_error(adjoint(x, output_grad), expected)
    values = {"cell": cell, "renormalised": renormalise, **asdict(size), **timing.columns()}
    if isinstance(adjoint, CapturedRecursion) and adjoint.capture_seconds is not None:
        values["capture_s"] = adjoint.capture_seconds
    values |= {"worst_error": error, "training_step_ms": 1e3 * step}
    result.add_value(name, form, timing.median / step, **values)


@cache
def seconds_of_step(cell: str, size: Size, device: torch.device) -> float:
    """Return the seconds of a training step of torch's module."""
    x = torch.randn(size.batch, size.steps, size.inputs, device=device)
    output_grad = torch.randn(size.batch, size.steps, size.hidden, device=device)
    module = layer_of(cell, size, x).fused
    return timed(lambda: training_step(module, x, output_grad, "float32"), device).median


def worst_error(found: Result, expected: Result) -> float:
    """Return the largest difference of two adjoints, relative to the largest gradient."""
    worst = 0.0
    for ours, theirs in zip(found.state, expected.state, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            a = ours.double() * found.log_scale.to(ours.device).exp()[..., None]
            b = theirs.double() * expected.log_scale.to(theirs.device).exp()[..., None]
            worst = max(worst, float((a - b).abs().max() / b.abs().max()))
    return worst


def by_recursion(
    cell: str, size: Size, x: Tensor, renormalise: bool, kernel: str = "torch", graph: bool = False
) -> Form:
    """Return the form of `RecurrentLayer.adjoint`, with or without CUDA graphs.

    Raises:
        NotAvailable: The native kernel is asked for and does not run here.
    """
    layer = layer_of(cell, size, x)
    use_kernel(layer, kernel, x)

    @torch.no_grad()
    def adjoint(x: Tensor, output_grad: Tensor) -> Result:
        with nullcontext() if graph else without_graphs():
            found = layer.adjoint(x, layer.trace(x), output_grad, renormalise=renormalise)
        return Result(State(found.h, found.c), found.log_scale)

    return adjoint


@contextmanager
def without_graphs() -> Iterator[None]:
    """Run recursions step by step."""
    before = recursion_graph.supports_graphs
    recursion_graph.supports_graphs = lambda device: False
    try:
        yield
    finally:
        recursion_graph.supports_graphs = before


class CapturedRecursion:
    """The recursion in a CUDA graph. A device without graphs runs it step by step.

    `adjoint` captures the graph at its second call.
    """

    def __init__(self, cell: str, size: Size, x: Tensor, renormalise: bool) -> None:
        self.call = by_recursion(cell, size, x, renormalise, graph=True)
        self.capture_seconds: float | None = None

    def __call__(self, x: Tensor, output_grad: Tensor) -> Result:
        """Run the forward pass and replay the recursion."""
        if self.capture_seconds is None and x.is_cuda:
            self.call(x, output_grad)
            self.capture_seconds = wall(lambda: self.call(x, output_grad), x.device)
        return self.call(x, output_grad)


class IdentityInputs:
    """The form with identity inputs.

    Raises:
        NotAvailable: Renormalisation is asked for.
    """

    def __init__(self, cell: str, size: Size, x: Tensor, renormalise: bool) -> None:
        if renormalise:
            raise NotAvailable("the fused backward pass cannot renormalise at each step")
        self.layer = layer_of(cell, size, x)
        use_kernel(self.layer, "torch", x)
        self.width = len(self.layer.input_weights)
        # `nn.GRU(…)` in training mode, which cuDNN needs for a backward pass.
        module = type(self.layer.fused)(size.inputs + self.width, size.hidden, batch_first=True)
        self.module = module.to(x.device, x.dtype).requires_grad_(False)
        self.module.weight_ih_l0[:, size.inputs :] = torch.eye(self.width, device=x.device, dtype=x.dtype)

    def __call__(self, x: Tensor, output_grad: Tensor) -> Result:
        """Return the adjoint; the weights of the layer are copied at every call, as training changes them."""
        self._copy_weights(x.shape[2])
        zeros = x.new_zeros(*x.shape[:2], self.width, requires_grad=True)
        h = self.module(torch.cat([x, zeros], dim=-1))[0]
        (deltas,) = torch.autograd.grad(h, zeros, output_grad)
        with torch.no_grad():
            state = self._state_grads(x, h.detach(), deltas, output_grad)
        return Result(state, torch.zeros(x.shape[:2], dtype=torch.float64, device=x.device))

    @torch.no_grad()
    def _copy_weights(self, inputs: int) -> None:
        w, *others = self.layer.weights
        self.module.weight_ih_l0[:, :inputs].copy_(w)
        names = ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        for name, values in zip(names, others, strict=True):
            getattr(self.module, name).copy_(values)

    def _state_grads(self, x: Tensor, h: Tensor, deltas: Tensor, output_grad: Tensor) -> State:
        """Compute a_t = direct_t + δ_{t+1} U, plus keep_{t+1} ⊙ a_{t+1} in a GRU; c_t likewise in an LSTM."""
        layer = self.layer
        gates = layer.gates(x, States(h, layer.zero_state(x)))
        if not layer.has_memory_cell:
            reset, update, candidate = deltas.chunk(3, dim=-1)
            deltas = torch.cat([reset, update, candidate * gates["reset"]], dim=-1)
        entering = output_grad + next_step(deltas @ layer.recurrent_weights)
        keep = next_step(gates["keep"])
        if not layer.has_memory_cell:
            return State(reverse_scan(keep, entering))
        c = scan(gates["forget"], gates["input"] * gates["candidate"])
        squashed = torch.tanh(c)
        return State(entering, reverse_scan(keep, entering * gates["output"] * (1 - squashed * squashed)))


def next_step(values: Tensor) -> Tensor:
    """Return the value after each step (B, T, H), 0 after the last one."""
    return shift(values.flip(1), torch.zeros_like(values[:, 0])).flip(1)


def reverse_scan(keep: Tensor, written: Tensor) -> Tensor:
    """Return y_t = keep_t ⊙ y_{t+1} + written_t, (B, T, H)."""
    return scan(keep.flip(1), written.flip(1)).flip(1)


def scan(keep: Tensor, written: Tensor) -> Tensor:
    """Return y_t = keep_t ⊙ y_{t-1} + written_t from y = 0, (B, T, H), in log2(T) operations on all steps.

    After each of them, y_t contains twice as many steps (Hillis & Steele 1986).
    """
    distance = 1
    while distance < written.shape[1]:
        later = torch.addcmul(written[:, distance:], keep[:, distance:], written[:, :-distance])
        written = torch.cat([written[:, :distance], later], dim=1)
        keep = torch.cat([keep[:, :distance], keep[:, distance:] * keep[:, :-distance]], dim=1)
        distance *= 2
    return written


FORMS: dict[str, Callable[[str, Size, Tensor, bool], Form]] = {
    "recursion": by_recursion,
    "native": partial(by_recursion, kernel="native"),
    "graph": CapturedRecursion,
    "identity": IdentityInputs,
}
