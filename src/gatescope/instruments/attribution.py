"""Attribution of a prediction to the steps of the input: gradient × input and integrated gradients.

An attribution assigns a part of one output number (`ScalarOutput`) to every step. It is computed at two
levels: for tokens (the embedded inputs x_t) and for states (the outputs h_t of the top layer, which attention
weights). Gradients are the exact adjoint (docs/instruments.md, "Adjoint"): no autograd through time is
needed, and eval mode works on a GPU.

Sources: Jain & Wallace 2019 (gradient × input); Sundararajan et al. 2017 (integrated gradients).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.instruments.probe import readout_gradient
from gatescope.models.encoder import Encoder, SequenceModel
from gatescope.models.traces import LayerTrace
from gatescope.sequences import TaskSpec, predicted_labels, probabilities

ScalarOutput = Callable[[Tensor], Tensor]
"""Maps the values of a prediction (B, K) to the explained number of each example (B,)."""


class Gradients(NamedTuple):
    """The gradients of an explained output.

    Attributes:
        output: (B,), the explained number.
        inputs: (B, T, D), its gradient at the embedded inputs.
        states: (B, T, S), its gradient at the states of the top layer.
        layers: the trace of each layer.
        adjoints: the gradient at the states of each layer, in the time order of the layer.
    """

    output: Tensor
    inputs: Tensor
    states: Tensor
    layers: dict[str, LayerTrace]
    adjoints: dict[str, Adjoint]


def distribution(task: TaskSpec, values: Tensor) -> Tensor:
    """Convert logits (…, K) to probabilities (…, classes); one sigmoid output gives two classes.

    Args:
        task: a classification with one class per sequence.
        values: logits.

    Raises:
        ValueError: the task is another one.
    """
    if not task.has_classes:
        raise ValueError(f"a {task.kind} task has no distribution over classes")
    return probabilities(task, values)


def explained_output(task: TaskSpec, values: Tensor) -> ScalarOutput:
    """Return the function whose value is explained.

    For a classification it is the log probability of the predicted class, or that of the predicted set of
    labels; for a regression the first value; for a transduction the log probability of the predicted symbols,
    for a tagging that of the predicted tags (of one sequence without padding).

    Args:
        task: the task of the model.
        values: the prediction: (B, K), or (B, U, V) for a transduction.
    """
    if task.kind in ("transduction", "tagging"):
        symbols = values.argmax(-1, keepdim=True)
        return lambda logits: torch.log_softmax(logits, dim=-1).gather(-1, symbols).sum((1, 2))
    if task.kind != "classification":
        return lambda outputs: outputs[:, 0]
    if task.multilabel:
        signs = 2 * predicted_labels(task, values).to(values.dtype) - 1
        return lambda logits: torch.nn.functional.logsigmoid(logits * signs).sum(1)
    predicted = distribution(task, values).argmax(-1, keepdim=True)
    if task.output_size == 1:
        sign = 2 * predicted - 1
        return lambda logits: torch.nn.functional.logsigmoid(logits * sign)[:, 0]
    return lambda logits: torch.log_softmax(logits, dim=-1).gather(1, predicted)[:, 0]


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    """Return the total variation distance ½ Σ |p − q| of two distributions over the last axis."""
    return (p - q).abs().sum(-1) / 2


def prediction_change(task: TaskSpec, before: Tensor, after: Tensor) -> Tensor:
    """Return how far a prediction changed.

    For a classification it is the total variation distance of the distributions (0 to 1), of several labels
    its mean over them; otherwise the absolute difference of the first value.

    Args:
        task: the task of the model.
        before: (…, K).
        after: (…, K).
    """
    if task.kind == "classification" and task.multilabel:
        return (probabilities(task, before) - probabilities(task, after)).abs().mean(-1)
    if task.kind == "classification":
        return total_variation(distribution(task, before), distribution(task, after))
    return (before - after).abs()[..., 0]


@torch.no_grad()
def gradients(model: SequenceModel, embedded: Tensor, lengths: Tensor, output: ScalarOutput) -> Gradients:
    """Compute the exact gradients of an output at the embedded inputs and at all states.

    Args:
        model: the model, in eval mode.
        embedded: (B, T, D), the embedded inputs.
        lengths: (B,).
        output: the explained output.
    """
    states, layers = model.stack.trace(embedded, lengths)
    _, value, state_grad = readout_gradient(model, states, lengths, output)
    adjoints = model.stack.adjoint(layers, state_grad, inputs=True)
    input_grad = torch.zeros_like(embedded)
    for name in list(layers)[: model.stack.directions]:
        input_grad = input_grad + layers[name].align_time(adjoints[name].inputs)
    return Gradients(value, input_grad, state_grad, layers, adjoints)


def gradient_times_input(gradient: Tensor, inputs: Tensor) -> Tensor:
    """Return the signed attribution Σ_d gradient_d · input_d, (B, T) from (B, T, D) each."""
    return (gradient * inputs).sum(-1)


@torch.no_grad()
def integrated_gradients(
    model: Encoder,
    embedded: Tensor,
    lengths: Tensor,
    output: ScalarOutput,
    nodes: int = 64,
    baseline: Tensor | None = None,
) -> Tensor:
    """Integrate the gradient along the straight line from the baseline to the embedded inputs.

    The integral is a Gauss-Legendre quadrature. The attributions of an example add up to
    output(embedded) − output(baseline); `completeness_error` measures the difference.

    Args:
        model: the model, in eval mode.
        embedded: (B, T, D), the embedded inputs.
        lengths: (B,).
        output: the explained output.
        nodes: number of nodes of the quadrature.
        baseline: (B, T, D); zeros by default.

    Returns:
        Attributions (B, T).
    """
    start = torch.zeros_like(embedded) if baseline is None else baseline
    difference = embedded - start
    points, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(embedded)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += weight * gradients(model, start + point * difference, lengths, output).inputs
    return (difference * total).sum(-1)


@torch.no_grad()
def completeness_error(
    model: Encoder, embedded: Tensor, lengths: Tensor, output: ScalarOutput, attributions: Tensor
) -> Tensor:
    """Return |Σ_t attributions − (output(embedded) − output(0))| of each example, (B,).

    Args:
        model: the model, in eval mode.
        embedded: (B, T, D), the embedded inputs.
        lengths: (B,).
        output: the explained output.
        attributions: (B, T), integrated gradients with a baseline of zeros.
    """
    at_input = output(predict_embedded(model, embedded, lengths))
    at_baseline = output(predict_embedded(model, torch.zeros_like(embedded), lengths))
    return (attributions.sum(1) - (at_input - at_baseline)).abs()


def predict_embedded(model: Encoder, embedded: Tensor, lengths: Tensor) -> Tensor:
    """Return the values (B, K) of the head for embedded inputs (B, T, D)."""
    return model.readout(model.stack(embedded, lengths), lengths).values
