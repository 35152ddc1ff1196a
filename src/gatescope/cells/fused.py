"""torch's fused recurrent modules on right-padded batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatescope.cells.kernels.layer import NativeLayer
from gatescope.cells.state import State, States
from gatescope.cells.tensors import zero_padding


def run_padded(module: nn.RNNBase, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
    """Run a module of torch over a padded batch: (B, T, D) -> (B, T, H), 0 at padding.

    The module also computes the padded steps: right padding cannot change a valid step, and packing costs
    more than they do (1.3 to 2.5 times the whole pass on a CPU).

    Args:
        module: of one layer and one direction.
        x: (B, T, D).
        lengths: (B,), or None where nothing is padded.
        initial: the state before the first step.
    """
    return zero_padding(_differentiable(module)(x, _initial(initial))[0], lengths)


def run_packed(module: nn.RNNBase, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
    """Run a module as `run_padded` does, without the padded steps, whose states could overflow."""
    if lengths is None:
        return run_padded(module, x, lengths, initial)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    h, _ = pad_packed_sequence(
        _differentiable(module)(packed, _initial(initial))[0], batch_first=True, total_length=x.shape[1]
    )
    return h


def _differentiable(module: nn.RNNBase) -> nn.RNNBase:
    """Return a module in training mode where gradients are enabled.

    cuDNN has no backward pass in eval mode. Without dropout both modes compute the same.
    """
    if torch.is_grad_enabled() and not module.training:
        module.train()
    return module


def _initial(state: State) -> Tensor | tuple[Tensor, Tensor]:
    return state.h[None] if state.c is None else (state.h[None], state.c[None])


class FusedLayer(NativeLayer):
    """A layer for which torch has a fused module.

    Attributes:
        fused: the module, of one layer and one direction.
    """

    fused: nn.RNNBase

    @property
    def weights(self) -> list[Tensor]:
        """W (chunks·H, D), U (chunks·H, H), b_ih and b_hh (chunks·H,)."""
        fused = self.fused
        return [fused.weight_ih_l0, fused.weight_hh_l0, fused.bias_ih_l0, fused.bias_hh_l0]  # type: ignore[list-item]

    @property
    def input_weights(self) -> Tensor:
        """W (chunks·H, D)."""
        return self.fused.weight_ih_l0  # type: ignore[return-value]

    @property
    def recurrent_weights(self) -> Tensor:
        """U (chunks·H, H)."""
        return self.fused.weight_hh_l0  # type: ignore[return-value]

    @torch.no_grad()
    def start_bias(self, chunk: str, value: Tensor) -> None:
        """Set the bias of one chunk, which is the sum of torch's two.

        Args:
            chunk: one of `chunk_names`.
            value: (H,).
        """
        _, _, b_ih, b_hh = self.weights
        index, chunks = self.chunk_names.index(chunk), len(self.chunk_names)
        b_ih.chunk(chunks)[index].copy_(value)
        b_hh.chunk(chunks)[index].zero_()

    def preactivations(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Return P = W x_t + b_ih and Q = U h_{t-1} + b_hh, (…, chunks·H) each.

        Args:
            x: (…, D).
            previous: h_{t-1}, (…, H).
        """
        w, u, b_ih, b_hh = self.weights
        return linear(x, w, b_ih), linear(previous, u, b_hh)

    def _torch_forward(self, x: Tensor, lengths: Tensor | None, initial: State) -> States:
        return States(self._run(x, lengths, initial), initial, lengths)

    def _run(self, x: Tensor, lengths: Tensor | None, initial: State) -> Tensor:
        """Return the hidden states (B, T, H), 0 at padding."""
        return run_padded(self.fused, x, lengths, initial)
