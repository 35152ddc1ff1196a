"""The base class of cells that have a native kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from gatescope.cells.adjoint import Adjoint, PreactivationAdjoint
from gatescope.cells.kernels.autograd import Recurrence
from gatescope.cells.kernels.backends import Backend, Kernel, KernelName, backend
from gatescope.cells.kernels.layout import Layout, PaddedLayout
from gatescope.cells.kernels.recurrence import BackwardResult, ForwardCache, SavedForBackward
from gatescope.cells.kernels.weights import FORMS, Kind, NativeWeights
from gatescope.cells.layer import AnalyticLayer
from gatescope.cells.state import PassCache, State, States
from gatescope.cells.tensors import padded_lengths


@dataclass
class NativePassCache(PassCache):
    """The cache of a pass on the native kernel.

    Attributes:
        backend: the kernel.
        forward: buffers of a pass without autograd.
        saved: what a pass under autograd saves.
    """

    backend: Backend = field(kw_only=True)
    forward: ForwardCache | None = field(default=None, kw_only=True)
    saved: SavedForBackward | None = field(default=None, kw_only=True)


class NativeLayer(AnalyticLayer):
    """A layer that runs on the native kernel or on torch's operations.

    Args:
        input_size: D.
        hidden_size: H.
        kernel: which of the two.
    """

    kind: Kind
    """The architecture of the kernel that computes the layer."""

    def __init__(self, input_size: int, hidden_size: int, kernel: Kernel = "auto") -> None:
        super().__init__(input_size, hidden_size)
        self.kernel = kernel

    @property
    @abstractmethod
    def native_weights(self) -> NativeWeights:
        """The parameters in the form that the kernel reads."""

    @abstractmethod
    def _torch_forward(self, x: Tensor, lengths: Tensor | None, initial: State) -> States:
        """Run the layer on torch's operations; `lengths` is None where nothing is padded."""

    def _equations_from(self, buffers: ForwardCache) -> tuple[Tensor, ...]:
        """Return what the cell's `_all_steps` computes, (B, T, H) each, from the kernel's buffers."""
        return ()

    def _own_rows(self, deltas: Tensor) -> Tensor:
        """Convert gradients at the kernel's pre-activations (…, chunks·H) to those at this cell's own."""
        return deltas

    def backend(self, device: torch.device, reading: bool = False) -> Backend | None:
        """Return the native kernel that runs a pass on a device, or None where there is none.

        Args:
            device: of the input.
            reading: whether gates and adjoint of the pass will be read.
        """
        return backend(self.kernel, self.kind, self.hidden_size, self.input_weights.dtype, device, reading)

    def kernel_on(self, device: torch.device) -> KernelName:
        """Return what a pass on a device runs on."""
        kernel = self.backend(device)
        return "torch" if kernel is None else kernel.name

    def runs_natively(self, x: Tensor) -> bool:
        """Return whether a pass over x (B, T, D) runs on a native kernel."""
        return self.kernel_on(x.device) != "torch"

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Run the layer over a batch; see `RecurrentLayer.forward`."""
        lengths = padded_lengths(lengths, x.shape[1])
        if (kernel := self.backend(x.device)) is None:
            return self._torch_forward(x, lengths, state or self.zero_state(x))
        if not torch.is_grad_enabled():
            return self._without_autograd(kernel, x, lengths, state, keep=False)
        kind, *weights = self.native_weights
        where, saved = kernel.layout(lengths, *x.shape[:2]), SavedForBackward()
        h, c, last = Recurrence.apply(x, *weights, *(state or (None, None)), kind, kernel, where, saved)
        assert saved.forward is not None
        initial = state or saved.forward.initial
        return States(h, initial, lengths, c, last, NativePassCache(backend=kernel, saved=saved))

    def _without_autograd(
        self, kernel: Backend, x: Tensor, lengths: Tensor | None, state: State | None, keep: bool
    ) -> States:
        weights, where = self.native_weights, kernel.layout(lengths, *x.shape[:2])
        buffers = kernel.forward(weights, x.to(weights.w.dtype), state, where, gates=keep)
        if keep:
            return self._readable(kernel, buffers, lengths)
        h, c, last = buffers.outputs()
        return States(h, buffers.initial, lengths, c, last)

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Run the layer as `forward` does; without autograd the kernel's buffers are kept for later."""
        if torch.is_grad_enabled() or (kernel := self.backend(x.device, reading=True)) is None:
            return self(x, lengths, state)
        return self._without_autograd(kernel, x, padded_lengths(lengths, x.shape[1]), state, keep=True)

    def _readable(self, kernel: Backend, buffers: ForwardCache, lengths: Tensor | None) -> States:
        """Return the result of a pass with a cache from which gates and adjoint are read."""
        h, c, last = buffers.outputs()
        cache = NativePassCache(backend=kernel, forward=buffers)
        if equations := self._equations_from(buffers):
            cache.tensors["equations"] = equations
        return States(h, buffers.initial, lengths, c, last, cache)

    def record_gradients(self, states: States) -> None:
        """Prepare a pass of training for `collect_gradients`; call it before the backward pass."""
        if (saved := _saved(states)) is None:
            super().record_gradients(states)
        else:
            saved.requested = True

    @torch.no_grad()
    def collect_gradients(self, x: Tensor, states: States) -> tuple[States, Adjoint] | None:
        """Return the states and the adjoint that the training pass has computed already."""
        if not isinstance(cache := states.cache, NativePassCache) or (saved := cache.saved) is None:
            return self._collect_from_torch(x, states)
        if saved.forward is None or saved.backward is None:
            return None
        recompute = partial(
            cache.backend.backward, saved.forward, self.native_weights.copy(), *saved.output_grads
        )
        return self._readable(cache.backend, saved.forward, states.lengths), self._adjoint_from(
            saved.forward, saved.backward, recompute
        )

    def _collect_from_torch(self, x: Tensor, states: States) -> tuple[States, Adjoint] | None:
        """Return the states and the adjoint of a training pass that ran on torch's operations.

        Another forward pass on the native kernel, and its adjoint, take a fraction of the recursion's time.
        """
        grad, exact = states.h.grad, states.h.dtype == self.input_weights.dtype
        if grad is None or not exact or self.backend(x.device, reading=True) is None:
            return super().collect_gradients(x, states)
        initial = State(*(None if part is None else part.detach() for part in states.initial))  # type: ignore[arg-type]
        traced = self.trace(x, states.lengths, initial)
        return traced, self.adjoint(x, traced, grad)

    @torch.no_grad()
    def adjoint(
        self,
        x: Tensor,
        states: States,
        output_grad: Tensor | None,
        *,
        last: State | None = None,
        renormalise: bool = False,
        output_grad_log_scale: Tensor | None = None,
        inputs: bool = False,
    ) -> Adjoint:
        """Return the exact ∂L/∂h_t (and ∂L/∂c_t) at every step; see `RecurrentLayer.adjoint`."""
        cache = states.cache
        if not isinstance(cache, NativePassCache) or (buffers := cache.forward) is None:
            return super().adjoint(
                x,
                states,
                output_grad,
                last=last,
                renormalise=renormalise,
                output_grad_log_scale=output_grad_log_scale,
                inputs=inputs,
            )
        recompute = partial(
            cache.backend.backward,
            buffers,
            # Training may change the weights before the deltas are read.
            self.native_weights.copy(),
            output_grad,
            last=last,
            renormalise=renormalise,
            output_grad_log_scale=output_grad_log_scale if renormalise else None,
        )
        return self._adjoint_from(buffers, recompute(deltas=inputs, states=True), recompute)

    def _adjoint_from(
        self, buffers: ForwardCache, result: BackwardResult, recompute: Callable[..., BackwardResult]
    ) -> NativeAdjoint:
        assert result.h is not None
        h, c = result.h.transpose(0, 1), None if result.c is None else result.c.transpose(0, 1)
        log_scale = result.log_scale
        log_scale = h.new_zeros(h.shape[:2], dtype=torch.float64) if log_scale is None else log_scale.T
        weights = self.input_weights.detach().clone()
        return NativeAdjoint(
            h, c, log_scale, weights, _Deltas(self, buffers.layout, recompute, result.deltas), len(h)
        )


def _saved(states: States) -> SavedForBackward | None:
    return states.cache.saved if isinstance(states.cache, NativePassCache) else None


@dataclass
class _Deltas:
    """Packed gradients at the pre-activations (N, chunks·H).

    Few instruments read them and they take memory at every step, so they are recomputed when first read.
    """

    layer: NativeLayer
    layout: Layout | PaddedLayout
    recompute_backward: Callable[..., BackwardResult]
    packed: Tensor | None

    def get(self) -> Tensor:
        if self.packed is None:
            self.packed = self.recompute_backward(deltas=True).deltas
        assert self.packed is not None
        return self.packed


@dataclass(frozen=True, eq=False)
class NativeAdjoint(PreactivationAdjoint):
    """The adjoint of a pass on the native kernel."""

    h: Tensor
    c: Tensor | None
    log_scale: Tensor
    input_weights: Tensor
    packed_deltas: _Deltas
    count: int

    def first(self, count: int) -> NativeAdjoint:
        """Return the adjoint of the first `count` sequences."""
        c = None if self.c is None else self.c[:count]
        return replace(self, h=self.h[:count], c=c, log_scale=self.log_scale[:count], count=count)

    def _unpack(self, packed: Tensor) -> Tensor:
        layer, layout = self.packed_deltas.layer, self.packed_deltas.layout
        return layer._own_rows(layout.unpack(packed)[: self.count])

    @cached_property
    def deltas(self) -> Tensor:
        """Gradient at the pre-activations (B, T, chunks·H)."""
        return self._unpack(self.packed_deltas.get()[:, : len(self.input_weights)])

    @cached_property
    def recurrent_deltas(self) -> Tensor:
        """Gradient at the results of the recurrent weights (B, T, chunks·H)."""
        packed, width = self.packed_deltas.get(), len(self.input_weights)
        layer = self.packed_deltas.layer
        if layer.recurrent_weights is None:
            return self.deltas[..., :0]
        if packed.shape[1] == width:
            return self.deltas
        return self._unpack(torch.cat([packed[:, : width - layer.hidden_size], packed[:, width:]], dim=1))


def unpack_gates(buffers: ForwardCache) -> tuple[Tensor, ...]:
    """Return the gates of a pass, (B, T, H) each, 0 at padding."""
    assert buffers.gates is not None
    return buffers.layout.unpack(buffers.gates).chunk(FORMS[buffers.kind].chunks, dim=-1)


def kernel_of(model: nn.Module, device: torch.device) -> KernelName:
    """Return what the recurrent layers of a model run on.

    Args:
        model: any module.
        device: of the training.
    """
    names = [layer.kernel_on(device) for layer in model.modules() if isinstance(layer, NativeLayer)]
    return next((name for name in names if name != "torch"), "torch")
