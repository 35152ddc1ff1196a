"""What is recorded of a module: its inputs, its states, and the gradients that reach them from outside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils.hooks import RemovableHandle

from gatescope.watching.copies import WatchedModel
from gatescope.watching.errors import WatchError
from gatescope.watching.torch_internals import in_backward


@dataclass
class Packing:
    """How the sequences of a batch are packed.

    Attributes:
        batch_sizes: as in `PackedSequence`.
        sorted_indices: likewise.
        unsorted_indices: likewise.
        lengths: (B,), in the order of the batch, on the device of the data.
    """

    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None
    lengths: Tensor

    @classmethod
    def of(cls, packed: PackedSequence) -> Packing:
        """Return the packing of a batch."""
        _, lengths = pad_packed_sequence(packed)
        return cls(
            packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices, lengths.to(packed.data.device)
        )

    def pad(self, data: Tensor) -> Tensor:
        """Return packed values (N, D) as (B, T, D), 0 at padding."""
        packed = PackedSequence(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)
        return pad_packed_sequence(packed, batch_first=True)[0]


@dataclass
class Call:
    """One forward pass of a module, batch first.

    Attributes:
        model: a copy of the weights of the pass.
        x: (B, T, D), the input.
        initial: (layers·directions, B, H), the states before the first step; none where they were zeros.
        output: (B, T, H·directions), the states of the top layer.
        final: (layers·directions, B, H) each, the last h, and the last c of an LSTM.
        packing: of a packed batch, else None.
        dropout: probability of the dropout between the layers in this pass.
        random_state: state of the random number generator before the pass, where there was dropout.
        has_graph: whether gradients can reach the pass.
        batch_first: as the module has it.
        unbatched: whether the input was one sequence (T, D).
        loss_scale: factor of the loss in the backward pass.
        grads: sums of the gradients that arrived, by "output", "h" and "c", as the pass returned them.
        arrivals: number of gradients that arrived.
    """

    model: WatchedModel
    x: Tensor
    initial: tuple[Tensor, ...]
    output: Tensor
    final: tuple[Tensor, ...]
    packing: Packing | None
    dropout: float
    random_state: Tensor | None
    has_graph: bool
    batch_first: bool
    unbatched: bool
    loss_scale: float
    grads: dict[str, Tensor] = field(default_factory=dict)
    arrivals: int = 0

    @property
    def lengths(self) -> Tensor | None:
        """(B,), or None where every sequence has T steps."""
        return None if self.packing is None else self.packing.lengths

    def output_grad(self) -> Tensor | None:
        """Return the gradient that reached the output from outside, (B, T, H·directions)."""
        grad = self.grads.get("output")
        return None if grad is None else self.batched(grad)

    def final_grads(self) -> list[Tensor | None]:
        """Return the gradients that reached the last h and the last c, (layers·directions, B, H) each."""
        found = [self.grads.get(part) for part in "hc"]
        return [grad[:, None] if grad is not None and self.unbatched else grad for grad in found]

    def batched(self, values: Tensor) -> Tensor:
        """Return values as the module takes or returns them as (B, T, D)."""
        if self.packing is not None:
            return self.packing.pad(values)
        if self.unbatched:
            return values[None]
        return values if self.batch_first else values.transpose(0, 1)


class Recorder:
    """Records every pass of one module.

    Args:
        name: name of the module.
        module: an `nn.RNN`, `nn.GRU` or `nn.LSTM`.
        before_pass: is called before a pass is recorded.
        loss_scale: returns the factor of the loss in the backward pass.
    """

    def __init__(
        self,
        name: str,
        module: nn.RNNBase,
        before_pass: Callable[[], None],
        loss_scale: Callable[[], float],
    ) -> None:
        self.name, self.module = name, module
        self.before_pass, self.loss_scale = before_pass, loss_scale
        self.calls: list[Call] = []
        self._handles: list[RemovableHandle] = []
        self._copy: tuple[tuple[Any, ...], WatchedModel] | None = None
        self._random_state: Tensor | None = None

    def attach(self) -> None:
        """Start recording."""
        before, after = self._before, self._after
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and the import takes a second
            before, after = torch.compiler.disable(before), torch.compiler.disable(after)
        self._handles = [
            self.module.register_forward_pre_hook(before, with_kwargs=True),
            self.module.register_forward_hook(after, with_kwargs=True),
        ]

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x, hx = _arguments(args, kwargs)
        self._check_devices(x, hx)
        self._random_state = None
        if self._dropout() > 0:
            on_gpu = (x.data if isinstance(x, PackedSequence) else x).device
            cuda = on_gpu.type == "cuda"
            self._random_state = torch.cuda.get_rng_state(on_gpu) if cuda else torch.get_rng_state()

    def _dropout(self) -> float:
        module = self.module
        return module.dropout if module.training and module.num_layers > 1 else 0.0

    def _check_devices(self, x: Any, hx: Any) -> None:
        home = next(self.module.parameters()).device
        tensors = {"its input": x.data if isinstance(x, PackedSequence) else x}
        for part, state in zip("hc", _parts(hx), strict=False):
            tensors[f"its initial state {part}_0"] = state
        for what, tensor in tensors.items():
            if isinstance(tensor, Tensor) and tensor.device != home:
                raise WatchError(
                    f"{self.name}: the weights are on {home}, {what} is on {tensor.device}: move one of them "
                    "with .to(device)"
                )

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if not in_backward():
            self.before_pass()
        elif any(call.has_graph for call in self.calls):
            return  # activation checkpointing computes a recorded pass again
        else:
            self.calls = []  # or it recorded one without a graph, of which this is the true one
        device = next(self.module.parameters()).device.type
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
            self._record(*_arguments(args, kwargs), *result)

    def _record(self, x: Any, hx: Any, output: Any, final: Any) -> None:
        packing = Packing.of(x) if isinstance(x, PackedSequence) else None
        x, tracked = (x.data, output.data) if isinstance(x, PackedSequence) else (x, output)
        unbatched = packing is None and x.dim() == 2
        parts = _parts(final)
        call = Call(
            self._weights(),
            _copy(x),
            tuple(_copy(part[:, None] if unbatched else part) for part in _parts(hx)),
            _copy(tracked),
            tuple(_copy(part[:, None] if unbatched else part) for part in parts),
            packing,
            self._dropout(),
            self._random_state,
            tracked.requires_grad,
            self.module.batch_first,
            unbatched,
            self.loss_scale(),
        )
        call.x, call.output = call.batched(call.x), call.batched(call.output)
        self.calls.append(call)
        for part, tensor in zip(("output", "h", "c"), (tracked, *parts), strict=False):
            if tensor.requires_grad:
                self._handles.append(tensor.register_hook(_adder(call, part)))

    def _weights(self) -> WatchedModel:
        """Return a copy of the weights, the last one where they have not changed since."""
        parameters = list(self.module.parameters())
        if any(parameter.is_inference() for parameter in parameters):  # their changes are not counted
            return WatchedModel(self.module)
        key = tuple((p.data_ptr(), p._version, p.dtype) for p in parameters)
        if self._copy is None or self._copy[0] != key:
            self._copy = (key, WatchedModel(self.module))
        return self._copy[1]


def _adder(call: Call, part: str) -> Callable[[Tensor], None]:
    def add(grad: Tensor) -> None:
        grad = grad.detach()
        call.arrivals += 1
        call.grads[part] = call.grads[part] + grad if part in call.grads else grad.clone()

    return add


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the input and the initial state of a call."""
    x = args[0] if args else kwargs["input"]
    return x, args[1] if len(args) > 1 else kwargs.get("hx")


def _parts(state: Any) -> tuple[Tensor, ...]:
    """Return h alone, or h and c."""
    return () if state is None else (state,) if isinstance(state, Tensor) else tuple(state)


def _copy(values: Tensor) -> Tensor:
    return values.detach().clone()
