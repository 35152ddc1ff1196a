"""The contract of a recurrent layer: one layer, one direction.

A subclass writes two methods, `step` and `gates`. The forward pass and the exact derivatives follow from
`step` (`gatescope.cells.derived`); a subclass may override each of them with a faster version.

Shapes: batch B, time T, input size D, hidden size H. Tensors are batch-first and right-padded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gatescope.cells import derived
from gatescope.cells.adjoint import (
    Adjoint,
    DenseAdjoint,
    LazyAdjoint,
    StepVjp,
    block_grads,
    concatenate,
)
from gatescope.cells.recursion import reverse_pass
from gatescope.cells.state import Block, State, States, join, last_index, split
from gatescope.cells.tensors import gather_time, padded_lengths


class RecurrentLayer(nn.Module, ABC):
    """One recurrent layer in one direction.

    Args:
        input_size: D.
        hidden_size: H.
    """

    gate_names: ClassVar[tuple[str, ...]] = ()
    """Names of the sigmoid gates as in the literature, in the order in which plots show them."""
    chunk_names: ClassVar[tuple[str, ...]] = ()
    """What each block of H rows of the weights computes, in order; gradient norms are given per block."""
    has_memory_cell: ClassVar[bool] = False
    """Whether the state has a memory cell c in addition to the hidden state h."""
    is_diagonal: ClassVar[bool] = False
    """Whether a unit's state depends on its own old state only, by the derivative `keep` of `prepare_vjp`."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size

    @abstractmethod
    def step(self, x_t: Tensor, state: State) -> State:
        """Return the next state: the equations of the layer as its paper writes them.

        Each row must depend on the same row of the arguments only. Where h_t is computed from c_t, it must be
        computed from the tensor that is returned as `c`.

        Args:
            x_t: input of the step, (B, D).
            state: the state before it, (B, H) each.
        """

    @abstractmethod
    def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return the gates at every step, (B, T, H) each.

        The keys are `gate_names`, and where the layer has them "keep", the share of the old state that stays,
        and "candidate", the value that is written. "update" always means the share of the candidate that is
        written, whatever the paper calls z. `states.previous_h` and `states.previous_c` hold the state before
        each step.

        Args:
            x: (B, T, D).
            states: the result of a pass over x.
        """

    def zero_state(self, x: Tensor) -> State:
        """Return the state of zeros for a batch x (B, …)."""
        zero = x.new_zeros(x.shape[0], self.hidden_size)
        return State(zero, zero if self.has_memory_cell else None)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Run the layer over a batch.

        Args:
            x: (B, T, D), right-padded.
            lengths: (B,); None where every sequence has T steps.
            state: the state before the first step, zeros by default.
        """
        initial = self.zero_state(x) if state is None else state
        return derived.forward(self.step, x, padded_lengths(lengths, x.shape[1]), initial)

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> States:
        """Run the layer as `forward` does, for a pass whose gates and adjoint will be read.

        A subclass may keep intermediate results in `States.cache`.
        """
        return self(x, lengths, state)

    def record_gradients(self, states: States) -> None:
        """Prepare a pass of training for `collect_gradients`; call it before the backward pass."""
        if states.h.requires_grad:
            states.h.retain_grad()

    @torch.no_grad()
    def collect_gradients(self, x: Tensor, states: States) -> tuple[States, Adjoint] | None:
        """Return the states and the adjoint of a pass after its backward pass, before the weights change.

        Args:
            x: input of the pass (B, T, D), without a graph.
            states: its result, prepared by `record_gradients`.

        Returns:
            The states without a graph, and ∂L/∂state; None where no gradient reached the states.
        """
        if states.h.grad is None:
            return None
        dtype = self.parameter_dtype(x)  # under autocast a pass has states of lower precision

        def converted(values: Tensor | None) -> Any:
            return None if values is None else values.detach().to(dtype)

        initial = State(*map(converted, states.initial))
        detached = States(converted(states.h), initial, states.lengths, converted(states.c))
        return detached, self.adjoint(x.to(dtype), detached, converted(states.h.grad))

    @property
    def has_analytic_vjp(self) -> bool:
        """Whether `state_vjp` is written by hand. What is derived from `step` may read values on the CPU."""
        return type(self).state_vjp is not RecurrentLayer.state_vjp

    def parameter_dtype(self, x: Tensor) -> torch.dtype:
        """Return the type of the layer's parameters, and that of x for a layer without any."""
        return next((parameter.dtype for parameter in self.parameters()), x.dtype)

    def memory(self, x: Tensor, states: States) -> Tensor | None:
        """Return the memory cells c_t (B, T, H) of a pass; None for layers without one."""
        return states.c

    def final(self, x: Tensor, states: States) -> State:
        """Return the state after the last valid step of each sequence, (B, H) each."""
        index = last_index(states)
        c = self.memory(x, states)
        return State(gather_time(states.h, index), None if c is None else gather_time(c, index))

    @property
    def input_weights(self) -> Tensor | None:
        """Weights of the input (chunks·H, D): the parameter `weight_ih` where there is one."""
        return getattr(self, "weight_ih", None)

    @property
    def recurrent_weights(self) -> Tensor | None:
        """Weights of the hidden state (chunks·H, H): the parameter `weight_hh` where there is one."""
        return getattr(self, "weight_hh", None)

    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return what `vjp` and `jvp` need of every step, (B, T, …) each.

        Args:
            x: (B, T, D).
            states: the result of a pass over x, with `c` for a layer with a memory cell.
        """
        return derived.linearise(x, states, self.parameter_dtype(states.h))

    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the vector-Jacobian product of one step, or of many steps at once.

        Args:
            state_grad: what reaches state_t from later steps and from outside, (…, H) each.
            saved: `linearise` at these steps.
        """
        return derived.vjp(self.step, state_grad, saved)

    def total(self, state_grad: State, saved: dict[str, Tensor]) -> State:
        """Return the `total` of `vjp`: ∂L/∂state_t in full."""
        return self.vjp(state_grad, saved).total if self.has_memory_cell else state_grad

    def prepare_vjp(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert the result of `linearise` into what `state_vjp` reads, (B, t, …) each."""
        return saved

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return the `previous` of `vjp`, with h and c concatenated as by `join`.

        The recursion calls it at every step, so a subclass writes it in few operations.

        Args:
            state_grad: (…, H), or (…, 2H) with a memory cell.
            prepared: `prepare_vjp` at these steps.
        """
        return join(derived.state_vjp(self.step, split(self, state_grad), prepared))

    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """Return the Jacobian-vector product of one step: the tangent of state_t, with inputs constant.

        Args:
            tangent: of state_{t-1}, (…, H) each.
            saved: `linearise` at these steps.
        """
        return derived.jvp(self.step, tangent, saved)

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
        """Return the exact ∂L/∂h_t (and ∂L/∂c_t) at every step.

        Args:
            x: input of the pass (B, T, D).
            states: its result.
            output_grad: gradient that reaches each output h_t from outside this layer, (B, T, H); its values
                at padding are ignored. None: zero.
            last: gradient that reaches the last state of each sequence in addition, (B, H) each.
            renormalise: keep the gradient at each step at a magnitude near 1, and its logarithm in
                `log_scale`, so that long lags neither underflow nor overflow.
            output_grad_log_scale: (B, T), with `renormalise`: `output_grad` is times its exponential.
            inputs: whether ∂L/∂x will be read. It can be read in any case, at a higher cost.
        """
        return self._finish(
            *reverse_pass(self, x, states, output_grad, last, renormalise, output_grad_log_scale)
        )

    def _finish(self, state_grad: Tensor, log_scale: Tensor, blocks: list[Block]) -> Adjoint:
        """Compute the adjoint from the results of `reverse_pass`, before training changes the weights."""
        grads = block_grads(self, state_grad, blocks)
        steps = [self.vjp(grad, block.saved) for grad, block in zip(grads, blocks, strict=True)]
        h = torch.cat([step.total.h for step in steps], dim=1)
        c = concatenate([step.total.c for step in steps])
        of_inputs = concatenate([step.inputs for step in steps])
        assert of_inputs is not None
        return DenseAdjoint(h, c, log_scale, of_inputs)


class AnalyticLayer(RecurrentLayer):
    """A layer with derivatives written by hand, whose input enters through one matrix product W x_t.

    `linearise`, `vjp` and `jvp` are overridden together. `vjp` returns gradients at the pre-activations, from
    which ∂L/∂x is one matrix product for all steps.
    """

    @property
    @abstractmethod
    def input_weights(self) -> Tensor:
        """W (chunks·H, D)."""

    @abstractmethod
    def linearise(self, x: Tensor, states: States) -> dict[str, Tensor]:
        """Return what `vjp` and `jvp` need of every step, (B, T, H) each."""

    @abstractmethod
    def vjp(self, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
        """Return the vector-Jacobian product of a step, with `delta` and `recurrent_delta`."""

    def total(self, state_grad: State, saved: dict[str, Tensor]) -> State:
        """Return ∂L/∂state_t in full: `state_grad` itself, unless there is a memory cell."""
        return state_grad

    def state_vjp(self, state_grad: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return the `previous` of `vjp`, with h and c concatenated."""
        return join(self.vjp(split(self, state_grad), prepared).previous)

    @abstractmethod
    def jvp(self, tangent: State, saved: dict[str, Tensor]) -> State:
        """Return the Jacobian-vector product of a step."""

    def _finish(self, state_grad: Tensor, log_scale: Tensor, blocks: list[Block]) -> Adjoint:
        # Training may change the weights before ∂L/∂x is read.
        weights = self.input_weights.detach().clone()
        return LazyAdjoint(state_grad, log_scale, weights, self, blocks)
