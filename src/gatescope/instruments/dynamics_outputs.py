"""The dynamics of a layer beside its task: the plane of states, effects of words, the linearised network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gatescope.cells.state import State, join
from gatescope.instruments.linearised import run_linearised
from gatescope.instruments.measurements import Heatmap, Measurements, Points, Undefined, scalar
from gatescope.instruments.principal import principal
from gatescope.instruments.probe import Probe, readout_gradient
from gatescope.instruments.word_effects import WordEffects, word_effects
from gatescope.sequences import probabilities

if TYPE_CHECKING:
    from gatescope.instruments.dynamics import Analysis

SHOWN = 200
"""Most words that are recorded by name."""
NO_TOKENS = "the inputs are not tokens of the first layer, or no train split is known"
NO_CLASSES = "the task is not a classification of sequences"


def readout_vectors(probe: Probe, name: str) -> Tensor | None:
    """Return the gradient of each output at the states of a layer: mean over sequences, sum over time steps.

    Without attention it is the weights of the head at h. Those of several classes are centred.

    Returns:
        (K, n) float64, 0 at the memory cell; None for a layer below the top one and for other tasks.
    """
    if name not in probe.top_output_grads or not probe.task.has_classes:
        return None
    rows = []
    for k in range(probe.task.output_size):
        output = partial(torch.select, dim=1, index=k)
        _, _, gradient = readout_gradient(probe.model, probe.outputs, probe.batch.lengths, output)
        rows.append(gradient.sum(1).mean(0))
    place = list(probe.top_output_grads).index(name)
    readout = torch.stack(rows).chunk(len(probe.top_output_grads), dim=-1)[place].double()
    if len(readout) > 1:
        readout = readout - readout.mean(0)
    memory = torch.zeros_like(readout) if probe.layers[name].cell.has_memory_cell else None
    return join(State(readout, memory))


def plane(prefix: str, probe: Probe, found: Analysis, walks: int) -> Measurements:
    """Return slow points and the states of some sequences in the plane of the states' first two components.

    The first component points to the side of the last class.
    """
    axes = principal(found.states, None if found.readout is None else found.readout[-1])
    points = axes.coordinates(found.slow.states)
    exact = axes.coordinates(found.exact.states)
    columns = {"first": [*points[:, 0].tolist(), *exact[:, 0].tolist()]}
    columns["second"] = [*points[:, 1].tolist(), *exact[:, 1].tolist()]
    columns["fixed"] = [0.0] * len(points) + [1.0] * len(exact)
    measurements: Measurements = {f"{prefix}/plane": Points(columns)}
    rows = chosen(probe, walks)
    if not rows:
        return measurements
    layer = found.layer
    memory = layer.cell.memory(layer.x, layer.states)
    states = join(State(layer.states.h, memory)).double()
    names = ("example", "step", "first", "second", "target")
    walk: dict[str, list[float]] = {name: [] for name in names}
    start = join(layer.states.initial).double()
    for row in rows:
        length = int(probe.batch.lengths[row])
        path = axes.coordinates(torch.cat([start[row : row + 1], states[row, :length]])).tolist()
        target = float(probe.batch.targets[row]) if probe.task.has_classes else 0.0
        for step, (first, second) in enumerate(path):
            values = (float(row), float(step), first, second, target)
            for name, value in zip(names, values, strict=True):
                walk[name].append(value)
    measurements[f"{prefix}/walks"] = Points(walk)
    if probe.tokens is not None and not layer.backward:
        row = max(rows, key=lambda row: int(probe.batch.lengths[row]))
        path = axes.coordinates(states[row, : int(probe.batch.lengths[row])]).T.tolist()
        tokens = list(probe.tokens[row])
        sides = ["first component", "second component"]
        measurements[f"{prefix}/walk"] = Heatmap(path, tokens, sides, "token", "state")
    return measurements


def chosen(probe: Probe, count: int) -> list[int]:
    """Return sequences of at least median length, as many of each class as possible."""
    lengths = probe.batch.lengths
    long = (lengths >= lengths.median()).nonzero()[:, 0].tolist()
    if not probe.task.has_classes:
        return long[:count]
    by_class: dict[float, list[int]] = {}
    for row in long:
        by_class.setdefault(float(probe.batch.targets[row]), []).append(row)
    turns = [(turn, c, row) for c, rows in sorted(by_class.items()) for turn, row in enumerate(rows)]
    return sorted(row for _, _, row in sorted(turns)[:count])


def effects(prefix: str, probe: Probe, found: Analysis, train: int, least: int) -> Measurements:
    """Return the effects of words on the slow modes beside the weights of a logistic regression."""
    if train == 0:
        return {}
    name = f"{prefix}/word_correlation"
    embedding = probe.model.embedding
    if found.readout is None:
        return {name: Undefined(NO_CLASSES)}
    if embedding is None or probe.train is None or found.layer.x.shape[-1] != embedding.embedding_dim:
        return {name: Undefined(NO_TOKENS)}
    if not prefix.startswith("dynamics/layer0"):
        return {name: Undefined(NO_TOKENS)}
    own = word_effects(
        found.linear, found.modes, found.readout, found.dimensions, max(1, round(found.length / 2)),
        embedding.weight.detach(), probe.train(train), probe.task, least,
    )  # fmt: skip
    why = f"fewer than 3 words occur {least} times in the train texts, or their effects do not vary"
    measurements: Measurements = {
        name: scalar(own.correlation(own.effects), why),
        f"{prefix}/later_correlation": scalar(own.correlation(own.later), why),
        f"{prefix}/words": scalar(len(own.words)),
    }
    if len(own.words):
        measurements[f"{prefix}/word_effects"] = word_table(own, probe)
    return measurements


def word_table(own: WordEffects, probe: Probe) -> Heatmap:
    """Return the words with the largest weights and the most frequent ones, for the last output."""
    size = np.abs(own.weights[:, -1])
    first = np.argsort(-size, kind="stable")[: SHOWN // 2]
    rows = np.unique([*first, *range(min(SHOWN // 2, len(size)))])
    values = (own.effects[:, -1], own.later[:, -1], own.weights[:, -1], own.counts)
    columns = np.stack([value[rows] for value in values], axis=1)
    words = [probe.task.token(int(own.words[row])) for row in rows]
    return Heatmap(columns.tolist(), ["effect", "later", "weight", "count"], words, "value", "word")


def linearised_accuracy(probe: Probe, found: dict[str, Analysis]) -> Measurements:
    """Return the accuracy of the network whose top layer is linearised, and its own, on the fixed batch."""
    names = list(probe.top_output_grads)
    if not probe.task.has_classes:
        return {"dynamics/linearised_accuracy": Undefined(NO_CLASSES)}
    if any(name not in found for name in names):
        return {"dynamics/linearised_accuracy": Undefined("no point to linearise at")}
    parts = [probe.layers[n].align_time(run_linearised(found[n].linear, probe.layers[n])) for n in names]
    lengths, targets = probe.batch.lengths, probe.batch.targets.long()
    predicted = []
    for states in (torch.cat(parts, dim=-1), probe.outputs):
        values = probe.model.readout(states, lengths, probe.batch.targets).values
        if not bool(values.isfinite().all()):
            return {"dynamics/linearised_accuracy": Undefined("the linearised network explodes")}
        predicted.append(probabilities(probe.task, values).argmax(-1))
    linear, whole = predicted
    return {
        "dynamics/linearised_accuracy": scalar((linear == targets).double().mean().item()),
        "dynamics/accuracy": scalar((whole == targets).double().mean().item()),
        "dynamics/agreement": scalar((linear == whole).double().mean().item()),
    }
