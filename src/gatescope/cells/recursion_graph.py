"""The recursion of the adjoint as a CUDA graph.

A recursion of T steps launches some thousand short operations, for which a GPU waits. Captured once and
replayed, they take a third to a fifth of the time (`benchmarks/gpu_adjoint.py`). It serves what has no Triton
kernel: layers of more than 128 units, and renormalised passes of layers without recurrent weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatescope.cells.adjoint import StepDerivatives

log = logging.getLogger(__name__)

MOST_GRAPHS = 4
"""Graphs that are kept for a layer. The measurements of one probe need two or three."""
MEMORY_SHARE = 0.1
"""Largest share of the free memory of a GPU that the inputs of one graph may take."""


class RecursionInputs(NamedTuple):
    """What a recursion reads.

    Attributes:
        steps: result of `RecurrentLayer.prepare_vjp` for each step, tensors (B, …).
        outside: gradients from outside (B, T, H), at h, and at c where there are any.
        outside_log: logarithm of their scale (B, T), float64.
    """

    steps: list[dict[str, Tensor]]
    outside: list[Tensor]
    outside_log: Tensor

    def shape(self) -> Hashable:
        """Return shapes, types and device, which a graph fixes."""
        first = [(name, values.shape, values.dtype) for name, values in self.steps[0].items()]
        outside = [(values.shape, values.dtype) for values in self.outside]
        return self.outside_log.device, len(self.steps), *first, *outside


Recursion = Callable[[StepDerivatives, RecursionInputs], tuple[Tensor, Tensor]]
"""Runs all steps of a layer."""


class CapturedRecursion:
    """A recursion with fixed inputs. It reads the weights of its layer where they are stored.

    Args:
        recursion: the recursion.
        layer: the layer.
        inputs: inputs of the first call.
    """

    def __init__(self, recursion: Recursion, layer: StepDerivatives, inputs: RecursionInputs) -> None:
        names = inputs.steps[0]
        self._stacked = {name: torch.stack([step[name] for step in inputs.steps]) for name in names}
        self._outside = [values.clone() for values in inputs.outside]
        self._outside_log = inputs.outside_log.clone()
        steps = [{name: self._stacked[name][t] for name in names} for t in range(len(inputs.steps))]
        fixed = RecursionInputs(steps, self._outside, self._outside_log)
        self._replay, self._outputs = capture(lambda: recursion(layer, fixed), inputs.outside_log.device)

    def __call__(self, inputs: RecursionInputs) -> tuple[Tensor, Tensor]:
        """Return the result for inputs of the same shapes."""
        for name, values in self._stacked.items():
            torch.stack([step[name] for step in inputs.steps], out=values)
        for fixed, values in zip(self._outside, inputs.outside, strict=True):
            fixed.copy_(values)
        self._outside_log.copy_(inputs.outside_log)
        self._replay()
        state_grad, log_scale = self._outputs
        return state_grad.clone(), log_scale.clone()  # the next call overwrites them


def capture(
    operations: Callable[[], tuple[Tensor, Tensor]], device: torch.device
) -> tuple[Callable[[], None], tuple[Tensor, Tensor]]:
    """Capture operations in a CUDA graph.

    Args:
        operations: they read and write tensors that stay where they are.
        device: where they run.

    Returns:
        What runs them again, and the tensors that it overwrites.
    """
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            operations()  # initialises cuBLAS, which is not possible in a graph
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # A thread of a data loader may allocate pinned memory in the meantime.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            outputs = operations()
    return graph.replay, outputs


class RecursionGraphs:
    """The graphs of one layer, by the kind of a recursion, its shapes and the addresses of the weights.

    The first recursion of a kind runs step by step and the second is captured, so that what occurs once, as a
    batch of training with its own lengths, is not captured.
    """

    def __init__(self) -> None:
        self._graphs: dict[Hashable, CapturedRecursion | None] = {}

    def run(
        self, kind: Hashable, recursion: Recursion, layer: StepDerivatives, inputs: RecursionInputs
    ) -> tuple[Tensor, Tensor]:
        """Run a recursion, by its graph where there is one.

        Args:
            kind: what selects the operations of the recursion besides shapes.
            recursion: the recursion.
            layer: the layer.
            inputs: what it reads.
        """
        if not layer.has_analytic_vjp or not supports_graphs(inputs.outside_log.device):
            return recursion(layer, inputs)
        key = (kind, inputs.shape(), *(parameter.data_ptr() for parameter in layer.parameters()))
        is_new = key not in self._graphs
        graph = self._graphs.pop(key, None)
        if graph is None and not is_new and fits(inputs):
            graph = CapturedRecursion(recursion, layer, inputs)
        self._graphs[key] = graph  # at the end: the one that was not used for the longest time is dropped
        if len(self._graphs) > MOST_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        return recursion(layer, inputs) if graph is None else graph(inputs)


_BY_LAYER: WeakKeyDictionary[StepDerivatives, RecursionGraphs] = WeakKeyDictionary()


def graphs_of(layer: StepDerivatives) -> RecursionGraphs:
    """Return the graphs of a layer. They end with it, and are not part of its copies and checkpoints."""
    return _BY_LAYER.setdefault(layer, RecursionGraphs())


def supports_graphs(device: torch.device) -> bool:
    """Return whether a device captures and replays graphs now."""
    return (
        device.type == "cuda"
        and torch.version.cuda is not None
        and not torch.compiler.is_compiling()
        and not torch.cuda.is_current_stream_capturing()
    )


def fits(inputs: RecursionInputs) -> bool:
    """Return whether a graph of these inputs takes a small part of the free memory of their device."""
    tensors = [*inputs.steps[0].values()] * len(inputs.steps) + [*inputs.outside, inputs.outside_log]
    needed = sum(values.numel() * values.element_size() for values in tensors)
    return needed <= MEMORY_SHARE * torch.cuda.mem_get_info(inputs.outside_log.device)[0]
