"""The explanation of one prediction by step: attention, attributions, gates and gradients, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gatescope.data.encoding.tokenizers import join_tokens
from gatescope.data.errors import DataError
from gatescope.explain.connections import connections
from gatescope.explain.passages import Passages
from gatescope.explain.rows import Row, attention_rows, attribution_rows, gates_of, layer_rows
from gatescope.instruments import attribution
from gatescope.instruments.probe import undisturbed
from gatescope.models.ctc import CTCModel
from gatescope.models.ctc_search import best_paths
from gatescope.models.encoder import Prediction
from gatescope.models.seq2seq import Seq2Seq
from gatescope.sequences import END, SPACE, Batch
from gatescope.trained import Trained

MOST_CONNECTED = 120
"""Largest number of tokens of which the connections are computed: their time grows with its square."""
NO_LABEL = "no label"
"""What is shown where none of several labels is predicted or true."""


@dataclass(frozen=True)
class Alignment:
    """A row for each target symbol, a column for each source step.

    Attributes:
        symbols: the generated symbols.
        weights: attention weights of a decoder, or of CTC the probability of the symbol.
        title: what the weights are.
    """

    symbols: list[str]
    weights: list[list[float]]
    title: str = "Attention weights of each target symbol"


@dataclass(frozen=True)
class Explanation:
    """The explanation of one prediction.

    Attributes:
        run: id of the run.
        title: the text, or the name of the example if it is no text.
        prediction: the predicted class, value or symbols.
        steps: the tokens, or the index of each step.
        rows: numbers by step.
        units: by "<layer>: <gate>", a row for each hidden unit and a column for each step.
        probabilities: probability of each class.
        target: the true target, where it is known.
        features: a row for each feature and a column for each step; empty for tokens.
        alignment: attention weights of a decoder.
        example: split and index of an example of the data, "test 3"; "" for a text that was given.
        spaces: for each token, whether a space precedes it in the text.
        connections: norm of ∂h_t/∂x_s, t in rows and s in columns; empty for features and long texts.
        passages: where else in the test split each unit is highest and lowest; None where that is not known.
        note: what distinguishes the model from the finished one of the run, such as "before training".
    """

    run: str
    title: str
    prediction: str
    steps: list[str]
    rows: list[Row]
    units: dict[str, list[list[float]]]
    probabilities: dict[str, float] = field(default_factory=dict)
    target: str | None = None
    features: list[list[float]] = field(default_factory=list)
    alignment: Alignment | None = None
    example: str = ""
    spaces: list[bool] = field(default_factory=list)
    connections: list[list[float]] = field(default_factory=list)
    passages: Passages | None = None
    note: str = ""


@torch.no_grad()
def explain(
    trained: Trained,
    batch: Batch,
    title: str,
    has_target: bool = False,
    passages: Passages | None = None,
    note: str = "",
) -> Explanation:
    """Explain the prediction for one example.

    Args:
        trained: a finished run.
        batch: a batch of one example, which is moved to the device of the model.
        title: the text, or the name of the example, "test 3".
        has_target: whether the batch has the true target.
        passages: as `find_passages` returns them.
        note: what distinguishes the model from the finished one of the run.

    Raises:
        DataError: the batch has several examples, or the task predicts at every step.
    """
    if len(batch.lengths) != 1:
        raise DataError(f"one example is explained at a time; given: {len(batch.lengths)}")
    batch = batch.to(trained.model.device)
    (answer,) = trained.answers(batch, beam=1)  # the symbols whose probabilities are explained
    with undisturbed(trained.model):
        embedded = trained.model.embed(batch.inputs)
        states = trained.model.stack(embedded, batch.lengths)
        prediction = trained.model.readout(states, batch.lengths)
        output = attribution.explained_output(trained.task, prediction.values)
        gradients = attribution.gradients(trained.model, embedded, batch.lengths, output)
        gates = {name: dict(gates_of(trace)) for name, trace in gradients.layers.items()}
        rows = [
            *attention_rows(prediction),
            *attribution_rows(trained, batch, embedded, gradients),
            *(row for name in gates for row in layer_rows(name, gradients, gates[name])),
        ]
        connected = (
            connections(trained.model, embedded, batch.lengths)
            if trained.task.inputs == "tokens" and embedded.shape[1] <= MOST_CONNECTED
            else embedded[0, :0]
        )
    units = {
        f"{name}: {gate}": _rounded(values[0].T)
        for name, layer_gates in gates.items()
        for gate, values in layer_gates.items()
    }
    tokens = trained.task.tokens(batch)
    text = answer.label or (" ".join(answer.symbols) if answer.value is None else f"{answer.value:.4g}")
    if trained.task.multilabel:
        text = ", ".join(answer.labels) or NO_LABEL
    text = " ".join(answer.tags) if answer.tags else text
    text = _outputs(answer.values) if answer.values else text
    written, spaces = _as_text(trained, tokens[0] if tokens else [])
    return Explanation(
        run=trained.directory.name,
        title=written if has_target and written else title,
        example=title if has_target else "",
        spaces=spaces,
        connections=[[float(f"{value:.4g}") for value in row] for row in connected.tolist()],
        passages=passages,
        note=note,
        prediction=text,
        steps=tokens[0] if tokens else _step_names(trained, prediction, batch.inputs.shape[1]),
        rows=rows,
        units=units,
        probabilities=answer.probabilities,
        target=_target(trained, batch.targets[0]) if has_target else None,
        features=[] if tokens else _rounded(_windows(trained, batch.inputs[0]).T),
        alignment=_alignment(trained, prediction),
    )


def _as_text(trained: Trained, tokens: list[str]) -> tuple[str, list[bool]]:
    """Return tokens as a text, and for each whether a space precedes it."""
    name = str(trained.task.tokenizer.get("name", ""))
    spaces = [place > 0 and " " in join_tokens(["x", token], name)[1:2] for place, token in enumerate(tokens)]
    return join_tokens(tokens, name), spaces


def _windows(trained: Trained, features: Tensor) -> Tensor:
    """Return features (T, F); of a recording (T·stack, mels), the windows that one step stacks."""
    return features.reshape(-1, trained.task.sound["mels"]) if trained.task.sound else features


def _step_names(trained: Trained, prediction: Prediction, steps: int) -> list[str]:
    """Return the number of each step, with the symbol that begins there where a model of CTC has one."""
    if not isinstance(trained.model, CTCModel):
        return [str(t) for t in range(steps)]
    names = [name.replace(" ", SPACE) for name in trained.task.target_vocabulary]
    path = best_paths(prediction.values)[0].tolist()
    return [str(t) if symbol == END else f"{t} {names[symbol]}" for t, symbol in enumerate(path)]


def _symbol_steps(trained: Trained, prediction: Prediction) -> Alignment | None:
    """Return the probability of each symbol of the best path of CTC at the steps where the path has it."""
    path, starts = prediction.values[0].argmax(-1), best_paths(prediction.values)[0]
    symbols = starts[starts != END].tolist()
    number = (starts != END).cumsum(0) - 1
    own = (path != END)[None] & (number[None] == torch.arange(len(symbols), device=path.device)[:, None])
    weights = prediction.values[0].exp().max(-1).values * own
    names = [trained.task.target_vocabulary[symbol].replace(" ", SPACE) for symbol in symbols]
    title = "Probability of each symbol at the steps where the best path has it"
    return Alignment(names, _rounded(weights), title) if names else None


def _alignment(trained: Trained, prediction: Prediction) -> Alignment | None:
    """Return the attention weights of a decoder, averaged over heads; of CTC the probabilities of symbols."""
    if isinstance(trained.model, CTCModel):
        return _symbol_steps(trained, prediction)
    if not isinstance(trained.model, Seq2Seq) or prediction.attention is None:
        return None
    symbols = trained.symbol_names(prediction.values[0].argmax(-1).tolist())
    weights = prediction.attention[0, : len(symbols)].mean(1)
    return Alignment(symbols, _rounded(weights)) if symbols else None


def _target(trained: Trained, target: Tensor) -> str:
    """Return the true target as text."""
    if trained.task.kind == "classification" and trained.task.multilabel:
        flags = zip(trained.labels, target.tolist(), strict=True)
        return ", ".join(name for name, flag in flags if flag) or NO_LABEL
    if trained.task.kind == "classification":
        return trained.labels[int(target)]
    if trained.task.kind == "tagging":
        return " ".join(trained.labels[i] for i in target.tolist())
    if trained.task.kind == "regression" and trained.task.output_size > 1:
        return _outputs(dict(zip(trained.labels, target.tolist(), strict=True)))
    if trained.task.kind == "regression":
        return f"{float(target):.4g}"
    return " ".join(trained.symbol_names(target.tolist()))


def _outputs(values: dict[str, float]) -> str:
    """Return the values of several outputs as text."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _rounded(values: Tensor) -> list[list[float]]:
    rows: list[list[float]] = values.double().round(decimals=4).tolist()
    return rows
