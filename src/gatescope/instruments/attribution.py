"""What a prediction rests on: gradient × input, integrated gradients, and what leaving an input out changes.

An attribution credits one number of the output, `Output`, to every step. It exists at two levels: tokens (the
embedded inputs x_t) and states (the top layer's outputs h_t), which is what attention weighs. Gradients are
the exact adjoint of INSTRUMENTS.md §2: no autograd through time, and eval mode on a GPU will do.

Sources: Jain & Wallace 2019 (gradient × input, leave-one-out), Sundararajan et al. 2017 (integrated).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.cells.tensors import reverse_within
from gatescope.models.encoder import Encoder, SequenceModel
from gatescope.models.stack import LayerTrace
from gatescope.sequences import TaskSpec, valid_mask
from gatescope.training.classification import probabilities

Output = Callable[[Tensor], Tensor]
"""(B, K) values of the head -> (B,): the number that is explained."""

AT_ONCE = 65_536
"""Steps (sequences × length) that one forward pass takes."""


class Gradients(NamedTuple):
    """`output` (B,); its gradients at the embedded inputs (B, T, D) and at the top states (B, T, S); the pass
    they were taken on and its adjoint, by layer, in the layer's own time."""

    output: Tensor
    inputs: Tensor
    states: Tensor
    layers: dict[str, LayerTrace]
    adjoints: dict[str, Adjoint]


def distribution(task: TaskSpec, values: Tensor) -> Tensor:
    """(…, K) logits -> (…, classes) probabilities; one sigmoid output gives two classes.

    Raises:
        ValueError: the task does not classify.
    """
    if task.kind != "classification":
        raise ValueError(f"a {task.kind} task has no distribution over classes")
    return probabilities(task, values)


def explained(task: TaskSpec, values: Tensor) -> Output:
    """Of a classification the log-probability of the class that `values` (B, K) predict, of a regression the
    first value, of a transduction the log-probability of the symbols that `values` (B, U, V) predict."""
    if task.kind == "transduction":
        written = values.argmax(-1, keepdim=True)
        return lambda given: torch.log_softmax(given, dim=-1).gather(-1, written).sum((1, 2))
    if task.kind != "classification":
        return lambda given: given[:, 0]
    chosen = distribution(task, values).argmax(-1, keepdim=True)
    if task.output_size == 1:
        sign = 2 * chosen - 1
        return lambda given: torch.nn.functional.logsigmoid(given * sign)[:, 0]
    return lambda given: torch.log_softmax(given, dim=-1).gather(1, chosen)[:, 0]


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    """(…, classes) twice -> (…): half the sum of absolute differences."""
    return (p - q).abs().sum(-1) / 2


def change(task: TaskSpec, before: Tensor, after: Tensor) -> Tensor:
    """(…, K) values twice -> (…): total variation of a classification's distribution, else the absolute
    change of the value."""
    if task.kind == "classification":
        return total_variation(distribution(task, before), distribution(task, after))
    return (before - after).abs()[..., 0]


@torch.no_grad()
def gradients(model: SequenceModel, embedded: Tensor, lengths: Tensor, output: Output) -> Gradients:
    """Exact gradients of `output` from a pass over embedded inputs (B, T, D); the model in eval mode."""
    states, layers = model.stack.trace(embedded, lengths)
    with torch.enable_grad():
        leaf = states.detach().requires_grad_()
        value = output(model.readout(leaf, lengths).values)
        (at_states,) = torch.autograd.grad(value.sum(), leaf)
    adjoints = model.stack.adjoint(layers, at_states, inputs=True)
    at_inputs = torch.zeros_like(embedded)
    for name, trace in layers.items():
        if name in ("layer0", "layer0_backward"):
            found = adjoints[name].inputs
            at_inputs = at_inputs + (reverse_within(found, lengths) if trace.backward else found)
    return Gradients(value.detach(), at_inputs, at_states, layers, adjoints)


def gradient_times_input(gradient: Tensor, inputs: Tensor) -> Tensor:
    """(B, T, D) twice -> (B, T), signed."""
    return (gradient * inputs).sum(-1)


@torch.no_grad()
def integrated_gradients(
    model: Encoder,
    embedded: Tensor,
    lengths: Tensor,
    output: Output,
    nodes: int = 64,
    baseline: Tensor | None = None,
) -> Tensor:
    """(B, T): attributions along the straight way from `baseline` (default: zeros) to `embedded` (B, T, D).

    By Gauss-Legendre quadrature. They add up to output(embedded) − output(baseline); `completeness_error`
    says how nearly.
    """
    start = torch.zeros_like(embedded) if baseline is None else baseline
    way = embedded - start
    points, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(embedded)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += weight * gradients(model, start + point * way, lengths, output).inputs
    return (way * total).sum(-1)


@torch.no_grad()
def completeness_error(
    model: Encoder, embedded: Tensor, lengths: Tensor, output: Output, attributions: Tensor
) -> Tensor:
    """(B,): |Σ attributions − (output(embedded) − output(0))|."""
    whole = output(run(model, embedded, lengths))
    nothing = output(run(model, torch.zeros_like(embedded), lengths))
    return (attributions.sum(1) - (whole - nothing)).abs()


def run(model: Encoder, embedded: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, D) -> the head's values (B, K)."""
    return model.readout(model.stack(embedded, lengths), lengths).values


@torch.no_grad()
def predict(model: Encoder, inputs: Tensor, lengths: Tensor) -> Tensor:
    """The head's values (N, K) of any number of sequences, of like length together; the order is kept."""
    order = lengths.argsort()
    parts = [
        run(model, model.embed(inputs[rows, : int(lengths[rows].max())]), lengths[rows])
        for rows in _blocks(order, lengths)
    ]
    values = torch.cat(parts)
    return torch.empty_like(values).index_copy_(0, order, values)


def _blocks(order: Tensor, lengths: Tensor) -> Iterator[Tensor]:
    """Rows in order of length, so many at once that padded they have at most AT_ONCE steps."""
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, AT_ONCE // int(lengths[order[start]]))]
        rows = rows[: max(1, AT_ONCE // int(lengths[rows[-1]]))]
        yield rows
        start += len(rows)


def subsequences(inputs: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T, …), (N, T) bool -> the steps that are kept, moved together in their order; their number (N,).

    What follows them is of no meaning.
    """
    lengths = keep.sum(1)
    order = (~keep).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(lengths.max())]
    index = order.reshape(*order.shape, *(1,) * (inputs.dim() - 2)).expand(*order.shape, *inputs.shape[2:])
    return inputs.gather(1, index), lengths


@torch.no_grad()
def leave_one_out(model: Encoder, inputs: Tensor, lengths: Tensor, chosen: Tensor) -> Tensor:
    """(B, T, K): the head's values for each sequence without step t, NaN where t is not `chosen` (B, T) bool.

    The step is taken out and the rest moves together. Sequences of one step have nothing left: not chosen.
    """
    valid = valid_mask(lengths, inputs.shape[1])
    rows, steps = (chosen & valid & (lengths > 1)[:, None]).nonzero(as_tuple=True)
    width = model.task.output_size
    found = torch.full((*inputs.shape[:2], width), torch.nan, device=inputs.device)
    if len(rows):
        keep = valid[rows]
        keep[torch.arange(len(rows), device=keep.device), steps] = False
        found[rows, steps] = predict(model, *subsequences(inputs[rows], keep)).to(found.dtype)
    return found


@torch.no_grad()
def leave_state_out(model: Encoder, states: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, K): the head's values when attention may not look at state t and its weights (B, heads, T) on
    the others are scaled up to 1; NaN where all weight is on t, or t is padding."""
    valid = valid_mask(lengths, states.shape[1])
    steps = states.shape[1]
    others = weights[:, :, None, :] * (1 - torch.eye(steps, device=states.device))
    left = others.sum(-1, keepdim=True)
    values = attend(model, states, others / left)
    return values.masked_fill((~valid | (left[..., 0] <= 0).any(1))[..., None], torch.nan)


@torch.no_grad()
def attend(model: Encoder, states: Tensor, weights: Tensor) -> Tensor:
    """(B, T, S), (B, heads, N, T) weights in place of the model's own -> the head's values (B, N, K)."""
    batch, heads, count, steps = weights.shape
    split = states.reshape(batch, steps, heads, -1)
    context = torch.einsum("bhnt,bthd->bnhd", weights, split).reshape(batch, count, -1)
    values: Tensor = model.head(context)
    return values
