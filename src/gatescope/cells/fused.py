"""Running torch's fused recurrent kernels on right-padded batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatescope.cells.base import State, States
from gatescope.cells.kernels.layer import NativeLayer
from gatescope.sequences import valid_mask


def zero_padding(h: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, H) with exact zeros at padding."""
    return h if lengths is None else h.masked_fill(~valid_mask(lengths, h.shape[1])[..., None], 0)


def run_padded(module: nn.RNNBase, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
    """(B, T, D) -> (B, T, H), 0 at padding.

    The padded tensor runs as it is: right padding cannot reach a valid step, and packing costs more than the
    wasted steps do (1.3 to 2.5 times the whole pass on a CPU).
    """
    return zero_padding(module(x, _initial(initial))[0], lengths)


def run_packed(module: nn.RNNBase, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
    """As `run_padded`, without computing at padding: for states that could overflow there."""
    if lengths is None:
        return run_padded(module, x, lengths, initial)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    h, _ = pad_packed_sequence(
        module(packed, _initial(initial))[0], batch_first=True, total_length=x.shape[1]
    )
    return h


def _initial(state: State) -> Tensor | tuple[Tensor, Tensor]:
    return state.h[None] if state.c is None else (state.h[None], state.c[None])


class FusedLayer(NativeLayer):
    """A cell that has one of torch's fused modules, of one layer and one direction."""

    fused: nn.RNNBase

    @property
    def weights(self) -> list[Tensor]:
        """W (chunks·H, D), U (chunks·H, H), b_ih and b_hh (chunks·H,)."""
        fused = self.fused
        return [fused.weight_ih_l0, fused.weight_hh_l0, fused.bias_ih_l0, fused.bias_hh_l0]  # type: ignore[list-item]

    @property
    def input_weights(self) -> Tensor:
        return self.fused.weight_ih_l0  # type: ignore[return-value]

    @property
    def recurrent_weights(self) -> Tensor:
        return self.fused.weight_hh_l0  # type: ignore[return-value]

    def _torch_forward(self, x: Tensor, lengths: Tensor | None, initial: State) -> States:
        return States(self._run(x, lengths, initial), initial, lengths)

    @torch.no_grad()
    def start_bias(self, chunk: str, value: Tensor) -> None:
        """Sets the start of one chunk's bias (H,), the sum of torch's two."""
        _, _, b_ih, b_hh = self.weights
        index, chunks = self.chunk_names.index(chunk), len(self.chunk_names)
        b_ih.chunk(chunks)[index].copy_(value)
        b_hh.chunk(chunks)[index].zero_()

    def _run(self, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
        return run_padded(self.fused, x, lengths, initial)

    def preactivations(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """P = x Wᵀ + b_ih and Q = h_{t-1} Uᵀ + b_hh, (…, chunks·H) each: two matrix products in all."""
        w, u, b_ih, b_hh = self.weights
        return linear(x, w, b_ih), linear(previous, u, b_hh)
