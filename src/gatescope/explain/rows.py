"""The rows of an explanation: one number for each step of the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gatescope.instruments import ablation, attribution
from gatescope.models.encoder import Encoder, Prediction
from gatescope.models.traces import LayerTrace
from gatescope.sequences import Batch
from gatescope.trained import Trained

MAIN_GATES = ("update", "forget")
"""The gate that controls how much of the state is kept; a cell without either has no such row."""
GRADIENT = "‖∂L/∂h‖"
"""End of the names of the rows with the norm of the gradient at the state of a layer."""
SIGNED = ("gradient × input", "integrated gradients")
"""Names of rows whose sign says whether a step speaks for or against the prediction."""


@dataclass(frozen=True)
class Row:
    """One number for each step.

    Attributes:
        name: name of the row.
        values: the numbers; None where undefined.
        description: what the numbers are, in a sentence.
        about_input: whether the numbers say what each step of the input contributes, so that they can colour
            the text.
    """

    name: str
    values: list[float | None]
    description: str
    about_input: bool = False

    @property
    def signed(self) -> bool:
        """Whether the numbers speak for (positive) or against (negative) the prediction."""
        return self.name in SIGNED


def attention_rows(prediction: Prediction) -> Iterator[Row]:
    """Yield the attention weights, averaged over heads and over a decoder's target steps."""
    if prediction.attention is None:
        return
    weights = prediction.attention[0]
    for _ in range(weights.dim() - 1):
        weights = weights.mean(0)
    yield _row(
        "attention",
        weights,
        "Attention weight of the state at this step, averaged over heads and, for a decoder, over target "
        "symbols. A state also contains information on earlier steps.",
        about_input=True,
    )


def attribution_rows(
    trained: Trained, batch: Batch, embedded: Tensor, gradients: attribution.Gradients
) -> Iterator[Row]:
    """Yield gradient × input, and for an encoder integrated gradients and leave-one-out."""
    model, lengths = trained.model, batch.lengths
    kind = trained.task.kind
    output_name = "the value" if kind == "regression" else "the log probability of the prediction"
    if kind == "regression" and trained.task.output_size > 1:
        output_name = f"the value of {trained.labels[0]}"
    yield _row(
        "gradient × input",
        attribution.gradient_times_input(gradients.inputs, embedded)[0],
        f"First-order contribution of the input at this step to {output_name}.",
        about_input=True,
    )
    if not isinstance(model, Encoder) or trained.task.every_step:
        return
    values = ablation.predict(model, batch.inputs, lengths)
    output = attribution.explained_output(trained.task, values)
    yield _row(
        "integrated gradients",
        attribution.integrated_gradients(model, embedded, lengths, output)[0],
        f"Contribution of this step to the difference of {output_name} from that of an input of zeros.",
        about_input=True,
    )
    steps = torch.ones_like(batch.inputs[:, :, 0] if batch.inputs.dim() == 3 else batch.inputs).bool()
    without = ablation.leave_one_out(model, batch.inputs, lengths, steps)
    distance = "total variation distance" if kind == "classification" else "absolute difference"
    yield _row(
        "leave-one-out",
        attribution.prediction_change(trained.task, values[:, None], without)[0],
        f"Change of the prediction when this step is removed ({distance}).",
        about_input=True,
    )


def layer_rows(name: str, gradients: attribution.Gradients, gates: dict[str, Tensor]) -> Iterator[Row]:
    """Yield the main gate of a layer, and the norms of its state, of the change and of the gradient."""
    trace, adjoint = gradients.layers[name], gradients.adjoints[name]
    for gate in MAIN_GATES:
        if gate in gates:
            share = "the new candidate that is written" if gate == "update" else "the old memory that is kept"
            yield _row(
                f"{name}: {gate} gate",
                gates[gate][0].mean(-1),
                f"Share of {share}, averaged over hidden units.",
            )
    h = gates["state"][0]
    previous = trace.align_time(trace.states.previous_h)[0]
    yield _row(f"{name}: ‖h‖", h.norm(dim=-1), "Norm of the hidden state.")
    yield _row(
        f"{name}: ‖Δh‖", (h - previous).norm(dim=-1), "Norm of the change of the hidden state at this step."
    )
    yield _row(
        f"{name}: {GRADIENT}",
        trace.align_time(adjoint.h)[0].norm(dim=-1),
        "Norm of the exact gradient at the hidden state; L is minus the explained output.",
    )


def gates_of(trace: LayerTrace) -> Iterator[tuple[str, Tensor]]:
    """Yield each gate, the candidate and the state, (B, T, H), in the order of the input."""
    gates = trace.cell.gates(trace.x, trace.states)
    for name in (*trace.cell.gate_names, "candidate"):
        if name in gates:
            yield name, trace.align_time(gates[name])
    yield "state", trace.align_time(trace.states.h)


def _row(name: str, values: Tensor, description: str, about_input: bool = False) -> Row:
    """Return a row; NaN becomes None."""
    numbers = [value if value == value else None for value in values.tolist()]
    return Row(name, numbers, description, about_input)
