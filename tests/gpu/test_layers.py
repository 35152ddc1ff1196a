"""Every cell on the device against the same cell in float64 on the CPU's torch operations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from cells.cell_reference import CELLS, NATIVE, TOLERANCE, configured, relative_error
from torch import Tensor

from gatescope.cells.kernels.layer import NativeLayer
from gatescope.cells.state import State
from gatescope.models.stack import RecurrentStack
from gpu.devices import ON_GPU

NAMES = [*configured(), "rnn_relu", "mingru_sequential", "minlstm_sequential"]
# On a CPU, auto is native in float32 and torch in float64.
OF_NATIVE = ("auto", "torch", "native") if ON_GPU else ("torch", "native")
KERNELS = [(cell, kernel) for cell in NAMES for kernel in (OF_NATIVE if cell in NATIVE else ("auto",))]
LAYERS = 2

pytestmark = pytest.mark.usefixtures("exact")


def sizes(device: torch.device) -> tuple[int, int, int, int]:
    """B, T, D, H."""
    return (9, 21, 10, 32) if device.type == "cuda" else (4, 9, 3, 6)


def set_kernel(stack: RecurrentStack, kernel: str) -> RecurrentStack:
    for layer in stack.layers.values():
        if isinstance(layer, NativeLayer):
            layer.kernel = kernel  # type: ignore[assignment]
    return stack


class Case:
    """A stack, its input and the gradients from outside, in float32 on the CPU."""

    def __init__(self, cell: str, padded: bool, directions: int, device: torch.device) -> None:
        torch.manual_seed(0)
        batch, steps, inputs, units = sizes(device)
        self.stack = RecurrentStack(CELLS[cell], inputs, units, LAYERS, directions == 2)
        self.x = torch.randn(batch, steps, inputs)
        self.lengths = torch.randint(1, steps + 1, (batch,)) if padded else None
        if self.lengths is not None:
            self.lengths[0] = steps
        self.every = torch.randn(batch, steps, units * directions)
        self.last = torch.randn(batch, units * directions)

    def on(self, device: torch.device, dtype: torch.dtype, kernel: str) -> dict[str, Tensor]:
        """All results, by name."""
        stack = set_kernel(copy.deepcopy(self.stack), kernel).to(device, dtype)
        x, every, last = (values.to(device, dtype) for values in (self.x, self.every, self.last))
        lengths = None if self.lengths is None else self.lengths.to(device)
        return {
            **measured(stack, x, lengths, every, last),
            **trained(stack, x, lengths, every),
            **carried(stack, x, lengths),
        }


@torch.no_grad()
def measured(
    stack: RecurrentStack, x: Tensor, lengths: Tensor | None, every: Tensor, last: Tensor
) -> dict[str, Tensor]:
    """States, gates and adjoints of a pass in eval mode, in both forms of the adjoint."""
    stack.eval()
    output, traces = stack.trace(x, lengths)
    results: dict[str, Tensor] = {"output": output}
    for name, trace in traces.items():
        results[f"{name} h"] = trace.states.h
        c = trace.cell.memory(trace.x, trace.states)
        if c is not None:
            results[f"{name} c"] = c
        mask = trace.states.mask
        for gate, values in trace.cell.gates(trace.x, trace.states).items():
            results[f"{name} gate {gate}"] = values if mask is None else values * mask[..., None]
    for renormalise in (False, True):
        adjoints = stack.adjoint(traces, every, last=last, renormalise=renormalise, inputs=True)
        for name, adjoint in adjoints.items():
            scale, form = adjoint.log_scale.exp()[..., None], "scaled" if renormalise else "plain"
            results[f"{name} {form} adjoint h"] = adjoint.h * scale
            results[f"{name} {form} adjoint x"] = adjoint.inputs * scale
            if adjoint.c is not None:
                results[f"{name} {form} adjoint c"] = adjoint.c * scale
    return results


def trained(stack: RecurrentStack, x: Tensor, lengths: Tensor | None, every: Tensor) -> dict[str, Tensor]:
    """Gradients of a training pass, and what `collect_gradients` reads of it."""
    stack.train()
    leaf = x.clone().requires_grad_()
    stack.record_gradients()
    output = stack(leaf, lengths)
    (output * every).sum().backward()
    results: dict[str, Tensor] = {"∂x": leaf.grad}  # type: ignore[dict-item]
    results |= {f"∂{name}": p.grad for name, p in stack.named_parameters() if p.grad is not None}
    for name, layer in stack.collect_gradients().items():
        results[f"{name} collected h"] = layer.adjoint.h
        if layer.adjoint.c is not None:
            results[f"{name} collected c"] = layer.adjoint.c
        results |= {
            f"{name} collected {gate}": values
            for gate, values in layer.gates.items()
            if layer.trace.states.mask is None
        }
    return results


@torch.no_grad()
def carried(stack: RecurrentStack, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
    """The output of a second batch that starts from the states at the end of the first."""
    if stack.directions == 2:
        return {}
    state: dict[str, State] = {}
    stack(x, lengths, state)
    return {"carried": stack(x.flip(0), lengths, state)}


_REFERENCES: dict[Any, dict[str, Tensor]] = {}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("cell", "kernel"), KERNELS)
def test_the_device_computes_what_the_cpu_does(
    cell: str, kernel: str, padded: bool, directions: int, dtype: torch.dtype, device: torch.device
) -> None:
    case = Case(cell, padded, directions, device)
    key = cell, padded, directions
    if key not in _REFERENCES:
        _REFERENCES.clear()
        _REFERENCES[key] = case.on(torch.device("cpu"), torch.float64, "torch")
    expected, found = _REFERENCES[key], case.on(device, dtype, kernel)
    assert found.keys() == expected.keys()
    assert all(values.device.type == device.type for values in found.values())
    errors = {name: relative_error(found[name].cpu().double(), expected[name]) for name in expected}
    wrong = {name: error for name, error in errors.items() if not error < TOLERANCE[dtype]}
    assert not wrong, wrong


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-6))


@pytest.mark.parametrize(("cell", "kernel"), KERNELS)
def test_a_pass_under_autocast_is_near_one_in_float32(cell: str, kernel: str, device: torch.device) -> None:
    """bfloat16 has 8 bits: only gross faults, such as a wrong type, are found."""
    narrow = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512"
    if narrow and kernel == "torch" and cell.startswith("lstm"):
        pytest.skip("torch's LSTM (oneDNN) has no bfloat16 on a CPU without AVX-512")
    case = Case(cell, True, 1, device)
    stack = set_kernel(case.stack, kernel).to(device)
    x, every, lengths = case.x.to(device), case.every.to(device), case.lengths
    lengths = None if lengths is None else lengths.to(device)
    expected = trained(stack, x, lengths, every)
    stack.zero_grad()
    stack.train()
    stack.record_gradients()
    with torch.autocast(device.type, torch.bfloat16):
        output = stack(x, lengths)
    (output.float() * every).sum().backward()
    layers = stack.collect_gradients()
    assert list(layers) == list(stack.layers)
    for name, layer in layers.items():
        assert layer.adjoint.h.dtype == torch.float32
        assert distance(layer.adjoint.h, expected[f"{name} collected h"]) < 0.3
    for name, parameter in stack.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert distance(parameter.grad, expected[f"∂{name}"]) < 0.3
