"""One prediction taken apart, as plain numbers by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gatescope.cells.tensors import reverse_within
from gatescope.data.errors import DataError
from gatescope.instruments import attribution
from gatescope.instruments.probe import undisturbed
from gatescope.models.encoder import Encoder, Prediction
from gatescope.models.seq2seq import Seq2Seq
from gatescope.models.stack import LayerTrace
from gatescope.sequences import Batch
from gatescope.trained import Trained

MAIN_GATES = ("update", "forget")
"""Of a cell's gates the one that decides what is kept; a cell without either has no such row."""


@dataclass(frozen=True)
class Row:
    """One number a step. `about` says what it is, in a sentence; None where a step has no value."""

    name: str
    values: list[float | None]
    about: str

    @property
    def signed(self) -> bool:
        return any(value is not None and value < 0 for value in self.values)


@dataclass(frozen=True)
class Alignment:
    """Weights of attention, a row a target symbol, a column a source step."""

    symbols: list[str]
    weights: list[list[float]]


@dataclass(frozen=True)
class Explanation:
    """What a page shows of one prediction.

    Attributes:
        run: id of the run.
        asked: the text, or which example.
        answer: the class, the value, or the symbols; `probabilities` of the classes.
        target: the true answer where it is known.
        steps: tokens, or numbers of steps.
        rows: by step.
        units: by "layer: gate" a row a unit, a column a step.
        features: a row a feature, a column a step; none for tokens.
        alignment: of a transduction with attention.
    """

    run: str
    asked: str
    answer: str
    steps: list[str]
    rows: list[Row]
    units: dict[str, list[list[float]]]
    probabilities: dict[str, float] = field(default_factory=dict)
    target: str | None = None
    features: list[list[float]] = field(default_factory=list)
    alignment: Alignment | None = None


@torch.no_grad()
def explain(trained: Trained, batch: Batch, asked: str, knows_target: bool = False) -> Explanation:
    """Of the one example in `batch`.

    Args:
        asked: how the input is named on the page.
        knows_target: whether the batch's target is the truth.

    Raises:
        DataError: the task answers at every step.
    """
    (answer,) = trained.answers(batch)
    with undisturbed(trained.model):
        prediction = trained.model.readout(*_states(trained, batch))
        output = attribution.explained(trained.task, prediction.values)
        embedded = trained.model.embed(batch.inputs)
        found = attribution.gradients(trained.model, embedded, batch.lengths, output)
        rows = [
            *_attention(prediction),
            *_attributions(trained, batch, embedded, found),
            *(row for name in found.layers for row in _layer(name, found, batch.lengths)),
        ]
        units = {
            f"{name}: {gate}": _rounded(values[0].T)
            for name, trace in found.layers.items()
            for gate, values in _gates(trace, batch.lengths)
        }
    tokens = trained.data.tokens(batch)
    features = [] if tokens else _rounded(batch.inputs[0].T)
    spoken = answer.label or (" ".join(answer.symbols) if answer.value is None else f"{answer.value:.4g}")
    return Explanation(
        run=trained.directory.name,
        asked=asked,
        answer=spoken,
        steps=tokens[0] if tokens else [str(t) for t in range(batch.inputs.shape[1])],
        rows=rows,
        units=units,
        probabilities=answer.probabilities,
        target=_target(trained, batch.targets[0]) if knows_target else None,
        features=features,
        alignment=_alignment(trained, prediction),
    )


def _states(trained: Trained, batch: Batch) -> tuple[Tensor, Tensor]:
    if len(batch.lengths) != 1:
        raise DataError(f"one example is explained at a time; given: {len(batch.lengths)}")
    return trained.model.stack(trained.model.embed(batch.inputs), batch.lengths), batch.lengths


def _attention(prediction: Prediction) -> Iterator[Row]:
    if prediction.attention is None:
        return
    weights = prediction.attention[0]
    for _ in range(weights.dim() - 1):  # heads, and a decoder's target steps
        weights = weights.mean(0)
    what = "Weight of the state at this step, mean over heads and, of a decoder, over what it writes."
    yield _row("attention", weights, f"{what} It credits states, which know of the steps before them.")


def _attributions(
    trained: Trained, batch: Batch, embedded: Tensor, found: attribution.Gradients
) -> Iterator[Row]:
    what = "the value" if trained.task.kind == "regression" else "the log-probability of what is predicted"
    credit = attribution.gradient_times_input(found.inputs, embedded)[0]
    yield _row("gradient × input", credit, f"How {what} grows with the input at this step, to first order.")
    if not isinstance(trained.model, Encoder):
        return
    output = attribution.explained(
        trained.task, attribution.predict(trained.model, batch.inputs, batch.lengths)
    )
    integrated = attribution.integrated_gradients(trained.model, embedded, batch.lengths, output)[0]
    about = f"Share of this step in the difference of {what} to that of inputs that are all 0."
    yield _row("integrated gradients", integrated, about)
    everywhere = torch.ones_like(batch.inputs[:, :, 0] if batch.inputs.dim() == 3 else batch.inputs).bool()
    without = attribution.leave_one_out(trained.model, batch.inputs, batch.lengths, everywhere)
    values = attribution.predict(trained.model, batch.inputs, batch.lengths)
    moved = attribution.change(trained.task, values[:, None], without)[0]
    how = "total variation of the distribution" if trained.task.kind == "classification" else "absolute"
    yield _row("leave-one-out", moved, f"How far the prediction moves without this step ({how}).")


def _layer(name: str, found: attribution.Gradients, lengths: Tensor) -> Iterator[Row]:
    trace, adjoint = found.layers[name], found.adjoints[name]
    gates = dict(_gates(trace, lengths))
    for gate in MAIN_GATES:
        if gate in gates:
            share = "the new candidate that is written" if gate == "update" else "the old memory that is kept"
            yield _row(
                f"{name}: {gate} gate", gates[gate][0].mean(-1), f"Mean over units of the share of {share}."
            )
    h = _in_time(trace, trace.states.h, lengths)[0]
    previous = _in_time(trace, trace.states.previous_h, lengths)[0]
    yield _row(f"{name}: ‖h‖", h.norm(dim=-1), "Norm of the hidden state.")
    yield _row(f"{name}: ‖Δh‖", (h - previous).norm(dim=-1), "Norm of its change at this step.")
    gradient = _in_time(trace, adjoint.h, lengths)[0].norm(dim=-1)
    yield _row(
        f"{name}: ‖∂L/∂h‖",
        gradient,
        "Norm of the loss's exact gradient at the state; L: minus what is explained.",
    )


def _gates(trace: LayerTrace, lengths: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(B, T, H) of every gate that no other one gives, and of the state, in the sequence's time."""
    gates = trace.cell.gates(trace.x, trace.states)
    for name in (*trace.cell.gate_names, "candidate"):
        if name in gates:
            yield name, _in_time(trace, gates[name], lengths)
    yield "state", _in_time(trace, trace.states.h, lengths)


def _in_time(trace: LayerTrace, values: Tensor, lengths: Tensor) -> Tensor:
    return reverse_within(values, lengths) if trace.backward else values


def _alignment(trained: Trained, prediction: Prediction) -> Alignment | None:
    if not isinstance(trained.model, Seq2Seq) or prediction.attention is None:
        return None
    symbols = trained.written(prediction.values[0].argmax(-1).tolist())
    weights = prediction.attention[0, : len(symbols)].mean(1)
    return Alignment(symbols, _rounded(weights)) if symbols else None


def _target(trained: Trained, target: Tensor) -> str:
    if trained.task.kind == "classification":
        return trained.labels[int(target)]
    if trained.task.kind == "regression":
        return f"{float(target):.4g}"
    return " ".join(trained.written(target.tolist()))


def _row(name: str, values: Tensor, about: str) -> Row:
    return Row(name, [value if value == value else None for value in values.tolist()], about)


def _rounded(values: Tensor) -> list[list[float]]:
    rows: list[list[float]] = values.double().round(decimals=4).tolist()
    return rows
