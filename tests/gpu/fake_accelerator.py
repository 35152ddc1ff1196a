"""Tensors on the CPU that behave as if they were on an accelerator: mixing them with others is an error.

They find most faults that only show on a GPU: a tensor made without `device`, `.numpy()` of a tensor on the
device, lengths on the device where torch wants them on the CPU. What happens inside torch is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from gatescope.sequences import Batch

FAKE = torch.device("cuda", 0)
INDEXING = (Tensor.__getitem__, Tensor.__setitem__)
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
ON_ANY_DEVICE = ("__get__", "__set__", "type", "_make_subclass")


class MixedDevices(RuntimeError):
    """What CUDA says in other words."""


class Accelerated(Tensor):
    """A tensor on the accelerator, with its values."""

    device = property(lambda self: FAKE)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]

    @property  # type: ignore[override]
    def grad(self) -> Tensor | None:
        with torch._C.DisableTorchFunction():
            found = Tensor.grad.__get__(self)  # type: ignore[attr-defined]
        return None if found is None else accelerated(found)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        with torch._C.DisableTorchFunction():
            Tensor.grad.__set__(self, None if value is None else plain(value))  # type: ignore[attr-defined]

    def numpy(self, *, force: bool = False) -> Any:
        raise MixedDevices("numpy() of a tensor on the accelerator: call .cpu() first")

    def __array__(self, dtype: Any = None) -> Any:
        raise MixedDevices("an array of a tensor on the accelerator: call .cpu() first")

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return plain(self)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return called(func, types, args, kwargs or {})


def accelerated(x: Tensor) -> Tensor:
    """The same tensor on the accelerator, with its graph."""
    with torch._C.DisableTorchFunction():
        return x if isinstance(x, Accelerated) else x.as_subclass(Accelerated)


def plain(x: Tensor) -> Tensor:
    """The same tensor on the CPU, with its graph."""
    with torch._C.DisableTorchFunction():
        return x.as_subclass(Tensor) if isinstance(x, Accelerated) else x


def called(func: Any, types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a function of torch on tensors of which one is on the accelerator."""
    name = getattr(func, "__name__", "")
    if func is Tensor.to:
        return moved(*args, **kwargs)
    if func is Tensor.tolist:
        return plain(args[0]).tolist()
    if name == "_pack_padded_sequence":
        return packed(func, *args)
    if name not in ON_ANY_DEVICE:
        check(func, name, args, kwargs)
    return Tensor.__torch_function__.__func__(Accelerated, func, types, args, kwargs)  # type: ignore[attr-defined]


def packed(func: Any, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Pack sequences: torch wants the lengths on the CPU, and returns the sizes of batches there."""
    if isinstance(lengths, Accelerated):
        raise MixedDevices("lengths must be on the CPU")
    data, sizes = func(plain(x), lengths, batch_first)
    return accelerated(data), sizes


def check(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise where CUDA does: for tensors on both devices, except for numbers, copies and indices."""
    if name in ("copy_", "set_data", "load_state_dict"):
        return
    tensors = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
    if func in INDEXING:
        own, values = args[0], args[2] if len(args) > 2 else None
        if not isinstance(own, Accelerated):
            raise MixedDevices("an index on the accelerator for a tensor on the CPU")
        tensors = [part for part in (own, values) if isinstance(part, Tensor)]
    elif name in RECURRENT and isinstance(args[1], Tensor):  # a packed batch, whose sizes are on the CPU
        tensors = [part for part in tensors if part is not args[1]]
    with torch._C.DisableTorchFunction():
        is_mixed = any(part.dim() and not isinstance(part, Accelerated) for part in tensors)
    if is_mixed:
        raise MixedDevices(f"{name}: tensors on the CPU and on the accelerator")


def moved(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to`."""
    kwargs.pop("non_blocking", None)
    other = next((a for a in args if isinstance(a, Tensor)), kwargs.pop("other", None))
    dtype = kwargs.get("dtype") or next((a for a in args if isinstance(a, torch.dtype)), None)
    where = kwargs.get("device") or next((a for a in args if isinstance(a, (str, torch.device))), None)
    if other is not None:
        dtype, where = other.dtype, other.device
    with torch._C.DisableTorchFunction():
        is_fake = isinstance(x, Accelerated) if where is None else torch.device(where).type == FAKE.type
        values = x.as_subclass(Tensor) if isinstance(x, Accelerated) else x
        values = values if dtype is None else values.to(dtype)
        return values.as_subclass(Accelerated) if is_fake else values


class _Factories(TorchFunctionMode):
    """Makes a tensor on the accelerator where `device` says so, and moves plain tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            return moved(*args, **kwargs)
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == FAKE.type:
            del kwargs["device"]
            with torch._C.DisableTorchFunction():
                return func(*args, **kwargs).as_subclass(Accelerated)
        return func(*args, **kwargs)


@contextmanager
def accelerator() -> Iterator[None]:
    """Within it, `device` of an `Accelerated` tensor makes tensors on the accelerator."""
    with _Factories():
        yield


def on_accelerator(model: nn.Module) -> nn.Module:
    """Move the parameters and buffers of a model in place."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                values = accelerated(parameter.detach())
                module._parameters[name] = nn.Parameter(values, parameter.requires_grad)
        for name, buffer in list(module._buffers.items()):
            module._buffers[name] = None if buffer is None else accelerated(buffer)
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
    return model


def batch_on_accelerator(batch: Batch) -> Batch:
    """Move a batch."""
    return Batch(*(accelerated(part.clone()) for part in batch))
