"""A forward pass and its derivatives, derived from a layer's `step` by autograd.

They are correct for every layer whose `step` treats the rows of a batch independently, and set the reference
for faster versions of the same methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gatescope.cells.adjoint import StepVjp
from gatescope.cells.state import State, States
from gatescope.cells.tensors import zero_padding
from gatescope.sequences import valid_mask

Step = Callable[[Tensor, State], State]
"""(B, D), state -> the next state, (B, H) each."""


def forward(step: Step, x: Tensor, lengths: Tensor | None, initial: State) -> States:
    """Run `step` over time in a Python loop.

    At padding the input is 0 and the state stays what it was, so that no value there can overflow.

    Args:
        step: the equations of the layer.
        x: (B, T, D).
        lengths: (B,), or None where nothing is padded.
        initial: the state before the first step.
    """
    valid = None
    if lengths is not None:
        valid = valid_mask(lengths, x.shape[1])[..., None]
        x = x.masked_fill(~valid, 0)
    state, hidden, memory = initial, [], []
    for t, x_t in enumerate(x.unbind(1)):
        new = step(x_t, state)
        state = new if valid is None else _where(valid[:, t], new, state)
        hidden.append(state.h)
        if state.c is not None:
            memory.append(state.c)
    h = zero_padding(torch.stack(hidden, dim=1), lengths)
    c = zero_padding(torch.stack(memory, dim=1), lengths) if memory else None
    return States(h, initial, lengths, c)


def _where(valid: Tensor, new: State, old: State) -> State:
    h = torch.where(valid, new.h, old.h)
    return State(h, None if new.c is None or old.c is None else torch.where(valid, new.c, old.c))


def linearise(x: Tensor, states: States, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the arguments of every step, (B, T, …) each: all that `vjp` and `jvp` need.

    Args:
        x: (B, T, D).
        states: the pass; with `c` for a layer with a memory cell.
        dtype: type of the layer's parameters, in which the derivatives are computed.
    """
    mask = states.mask
    x = x if mask is None else x.masked_fill(~mask[..., None], 0)
    saved = {"x": x, "h": states.previous_h}
    if (c := states.previous_c) is not None:
        saved["c"] = c
    return {name: values.to(dtype) for name, values in saved.items()}


def vjp(step: Step, state_grad: State, saved: dict[str, Tensor]) -> StepVjp:
    """Return the vector-Jacobian product of a step.

    Args:
        step: the equations of the layer.
        state_grad: what reaches state_t from later steps and from outside, (…, H) each.
        saved: `linearise` at these steps; its leading shape is broadcast to that of `state_grad`.
    """
    shape, arguments, new, grads = _evaluate(step, state_grad, saved)
    total = [grad.clone() for grad in grads]
    if len(new) == 2:
        h, c = new[0], new[1]
        total[1] += _through(h, c, grads[0])
        total[0] += _through(c, h, grads[1])
    inputs, *previous = _grad(new, arguments, grads)
    return StepVjp(_state(previous, shape), _state(total, shape), inputs.reshape(*shape, inputs.shape[-1]))


def state_vjp(step: Step, state_grad: State, saved: dict[str, Tensor]) -> State:
    """Return the `previous` of `vjp`, without the rest; arguments as there."""
    shape, arguments, new, grads = _evaluate(step, state_grad, saved)
    return _state(_grad(new, arguments[1:], grads), shape)


def jvp(step: Step, tangent: State, saved: dict[str, Tensor]) -> State:
    """Return the Jacobian-vector product of a step whose input is held constant.

    Args:
        step: the equations of the layer.
        tangent: of state_{t-1}, (…, H) each.
        saved: `linearise` at these steps; its leading shape is broadcast to that of `tangent`.
    """
    shape = _leading_shape(tangent.h, saved)
    x_t, *previous = (_rows(values, shape) for values in saved.values())
    previous = [values.requires_grad_() for values in previous]
    # The vector-Jacobian product is linear in its vector v, and its derivative with respect to v is the
    # Jacobian. torch.func.jvp would first compile torch's decompositions, which takes a second and warns.
    with torch.enable_grad():
        new = [part for part in step(x_t, State(*previous)) if part is not None]
        vectors = [torch.zeros_like(part).requires_grad_() for part in new]
        products = _grad(new, previous, vectors, create_graph=True)
    tangents = [_rows(part, shape).to(new[0].dtype) for part in tangent if part is not None]
    return _state(_grad(products, vectors, tangents), shape)


def _grad(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], grads: Sequence[Tensor], create_graph: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradients of the inputs; zeros for those that no output depends on."""
    pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if output.requires_grad]
    if not pairs:
        return tuple(torch.zeros_like(values) for values in inputs)
    outputs, grads = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, inputs, grads, create_graph=create_graph, materialize_grads=True)


def _evaluate(
    step: Step, state_grad: State, saved: dict[str, Tensor]
) -> tuple[torch.Size, list[Tensor], list[Tensor], list[Tensor]]:
    """Evaluate a step under autograd.

    Returns:
        The leading shape, the arguments x_t, h_{t-1} (and c_{t-1}), the results h_t (and c_t), and the
        gradients at the results; one row per position.
    """
    shape = _leading_shape(state_grad.h, saved)
    arguments = [_rows(values, shape).requires_grad_() for values in saved.values()]
    with torch.enable_grad():
        new = [part for part in step(arguments[0], State(*arguments[1:])) if part is not None]
    grads = [
        torch.zeros_like(part) if grad is None else _rows(grad, shape).to(part.dtype)
        for part, grad in zip(new, (state_grad.h, state_grad.c), strict=False)
    ]
    return shape, arguments, new, grads


def _through(output: Tensor, inner: Tensor, grad: Tensor) -> Tensor | float:
    """Return what reaches one result of a step through the other one, 0 where it is not part of it."""
    if not (output.requires_grad and inner.requires_grad):
        return 0.0
    (through,) = torch.autograd.grad(output, inner, grad, retain_graph=True, allow_unused=True)
    return 0.0 if through is None else through


def _leading_shape(values: Tensor, saved: dict[str, Tensor]) -> torch.Size:
    return torch.broadcast_shapes(values.shape[:-1], saved["h"].shape[:-1])


def _rows(values: Tensor, shape: torch.Size) -> Tensor:
    """Broadcast (…, H) to the leading shape and return it as rows (N, H), without a graph."""
    return values.detach().expand(*shape, values.shape[-1]).reshape(-1, values.shape[-1])


def _state(rows: Sequence[Tensor], shape: torch.Size) -> State:
    return State(*(values.reshape(*shape, values.shape[-1]) for values in rows))
