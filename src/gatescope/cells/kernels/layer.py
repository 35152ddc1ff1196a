"""A cell that has a native kernel: which way a pass goes, and what a native pass leaves to read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor, nn

from gatescope.cells.base import Adjoint, RecurrentLayer, State, States, padded_lengths
from gatescope.cells.kernels import walk
from gatescope.cells.kernels.autograd import Recurrence
from gatescope.cells.kernels.build import available
from gatescope.cells.kernels.layout import Layout, layout
from gatescope.cells.kernels.walk import Walked, Watch
from gatescope.cells.kernels.weights import FORMS, NativeWeights

Kernel = Literal["auto", "torch", "native"]


class NativeLayer(RecurrentLayer):
    """Runs on the native kernel or on torch's modules.

    Args:
        kernel: auto: native on a CPU in float32 where it can be built, else torch; native: in float64 too.
    """

    def __init__(self, input_size: int, hidden_size: int, kernel: Kernel = "auto") -> None:
        super().__init__(input_size, hidden_size)
        self.kernel = kernel

    @property
    @abstractmethod
    def native_weights(self) -> NativeWeights: ...

    @abstractmethod
    def _torch_forward(self, x: Tensor, lengths: Tensor | None, initial: State) -> States:
        """`forward` without the native kernel; `lengths` None where nothing is padded."""

    def _equations_of(self, walked: Walked) -> tuple[Tensor, ...]:
        """What `gates` and `linearise` read of a walk, (B, T, H) each, as `_all_steps` gives it."""
        return ()

    def _own_rows(self, deltas: Tensor) -> Tensor:
        """Gradients at the kernel's pre-activations (…, chunks·H) -> at this cell's own."""
        return deltas

    def runs_natively(self, x: Tensor) -> bool:
        if self.kernel == "torch" or not x.is_cpu:
            return False
        types = (torch.float32, torch.float64) if self.kernel == "native" else (torch.float32,)
        # A graph that is being written down for another runtime needs operations that the other one knows.
        written_down = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return self.input_weights.dtype in types and not written_down and available()

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        lengths = padded_lengths(lengths, x.shape[1])
        if not self.runs_natively(x):
            return self._torch_forward(x, lengths, state or self.zero_state(x))
        if not torch.is_grad_enabled():
            return self._without_autograd(x, lengths, state, read=False)
        kind, *weights = self.native_weights
        where, watch = layout(lengths, *x.shape[:2]), Watch()
        h, c, last = Recurrence.apply(x, *weights, *(state or (None, None)), kind, where, watch)
        assert watch.walked is not None
        states = States(h, state or watch.walked.initial, lengths, c, last)
        states.watch = watch
        return states

    def _without_autograd(self, x: Tensor, lengths: Tensor | None, state: State | None, read: bool) -> States:
        weights, where = self.native_weights, layout(lengths, *x.shape[:2])
        walked = walk.forward(weights, x.to(weights.w.dtype), state, where, gates=read)
        if read:
            return self._read(walked, lengths)
        h, c, last = walked.outputs()
        return States(h, walked.initial, lengths, c, last)

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Without autograd a native walk keeps the gates that it has computed."""
        if torch.is_grad_enabled() or not self.runs_natively(x):
            return self(x, lengths, state)
        return self._without_autograd(x, padded_lengths(lengths, x.shape[1]), state, read=True)

    def _read(self, walked: Walked, lengths: Tensor | None) -> States:
        """To ask for gates and adjoint."""
        h, c, last = walked.outputs()
        states = States(h, walked.initial, lengths, c, last)
        states.walked = walked
        if equations := self._equations_of(walked):
            states.kept["equations"] = equations
        return states

    def watch(self, states: States) -> None:
        if states.watch is None:
            super().watch(states)
        else:
            states.watch.wanted = True

    @torch.no_grad()
    def passed(self, x: Tensor, states: States) -> tuple[States, Adjoint] | None:
        """From what the pass has computed anyway."""
        watch = states.watch
        if watch is None:
            return super().passed(x, states)
        if watch.walked is None or watch.back is None:
            return None
        left = self._read(watch.walked, states.lengths)
        back_once_more = partial(walk.backward, watch.walked, self.native_weights.copied(), *watch.direct)
        return left, self._adjoint_of(watch.walked, watch.back, back_once_more)

    @torch.no_grad()
    def adjoint(
        self,
        x: Tensor,
        states: States,
        direct: Tensor | None,
        *,
        last: State | None = None,
        renormalise: bool = False,
        direct_log_scale: Tensor | None = None,
        inputs: bool = False,
    ) -> Adjoint:
        walked = states.walked
        if walked is None:
            return super().adjoint(
                x,
                states,
                direct,
                last=last,
                renormalise=renormalise,
                direct_log_scale=direct_log_scale,
                inputs=inputs,
            )
        back_once_more = partial(
            walk.backward,
            walked,
            # Training may move the weights before anyone asks for ∂L/∂x.
            self.native_weights.copied(),
            direct,
            last=last,
            renormalise=renormalise,
            outside=direct_log_scale if renormalise else None,
        )
        return self._adjoint_of(walked, back_once_more(deltas=inputs, states=True), back_once_more)

    def _adjoint_of(self, walked: Walked, back: walk.Back, again: Callable[..., walk.Back]) -> NativeAdjoint:
        assert back.h is not None
        h, c = back.h.transpose(0, 1), None if back.c is None else back.c.transpose(0, 1)
        log = torch.zeros(h.shape[:2], dtype=torch.float64) if back.logs is None else back.logs.T
        own = self.input_weights.detach().clone()
        deltas = _Deltas(self, walked.layout, again, back.deltas)
        return NativeAdjoint(h, c, log, own, deltas, len(h))


@dataclass
class _Deltas:
    """Gradients at the pre-activations, packed: few readers want them, and they cost memory at every step."""

    cell: NativeLayer
    layout: Layout
    back_once_more: Callable[..., walk.Back]
    kept: Tensor | None

    def packed(self) -> Tensor:
        if self.kept is None:
            self.kept = self.back_once_more(deltas=True).deltas
        assert self.kept is not None
        return self.kept


@dataclass(frozen=True, eq=False)
class NativeAdjoint(Adjoint):
    """What a native walk back left; the gradients at the pre-activations are looked for when asked for."""

    h: Tensor
    c: Tensor | None
    log_scale: Tensor
    input_weights: Tensor
    of_steps: _Deltas
    count: int

    def first(self, count: int) -> NativeAdjoint:
        c = None if self.c is None else self.c[:count]
        return replace(self, h=self.h[:count], c=c, log_scale=self.log_scale[:count], count=count)

    def _unpacked(self, packed: Tensor) -> Tensor:
        return self.of_steps.cell._own_rows(self.of_steps.layout.unpack(packed)[: self.count])

    @cached_property
    def deltas(self) -> Tensor:  # type: ignore[override]
        return self._unpacked(self.of_steps.packed()[:, : len(self.input_weights)])

    @cached_property
    def recurrent_deltas(self) -> Tensor:  # type: ignore[override]
        packed, width, size = self.of_steps.packed(), len(self.input_weights), self.of_steps.cell.hidden_size
        if self.of_steps.cell.recurrent_weights is None:
            return self.deltas[..., :0]
        if packed.shape[1] == width:
            return self.deltas
        return self._unpacked(torch.cat([packed[:, : width - size], packed[:, width:]], dim=1))


def chunks(walked: Walked) -> tuple[Tensor, ...]:
    """The gates of a walk, (B, T, H) each, 0 at padding."""
    assert walked.gates is not None
    return walked.layout.unpack(walked.gates).chunk(FORMS[walked.kind].chunks, dim=-1)


def kernel_of(model: nn.Module, accelerator: str) -> Literal["native", "torch"]:
    """What the model's recurrent layers will run on."""
    layers = [layer for layer in model.modules() if isinstance(layer, NativeLayer)]
    native = accelerator == "cpu" and any(layer.runs_natively(layer.input_weights) for layer in layers)
    return "native" if native else "torch"
