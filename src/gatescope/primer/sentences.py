"""Real sentences in the trained networks: gates, held gates, what is left of each word, attention."""

from __future__ import annotations

from typing import Any

import torch
from scipy.stats import kendalltau
from torch import Tensor

from gatescope.analysis.report.numbers import NOTHING
from gatescope.explain import explain
from gatescope.explain.connections import connections
from gatescope.instruments import ablation, attribution
from gatescope.instruments.probe import undisturbed
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch
from gatescope.trained import Trained
from gatescope.watching.clamping import clamped

SENTENCES = (944, 1587, 2934)
"""Examples of the test split of `data=tweets`, one of each class: short ones, of words that are all known."""
LEVELS: tuple[float | None, ...] = (None, *(level / 10 for level in range(11)))
"""Values at which a gate is held; None: as the network has learned it."""
UNITS = 6
"""Hidden units whose states are kept for every pair of levels: those that vary most over the words."""
GATES = ("reset", "update", "candidate", "state")


def measure(plain: Trained, attending: dict[int, Trained]) -> dict[str, Any]:
    """Look at the sentences.

    Args:
        plain: the article's GRU, whose last state is read.
        attending: networks with attention that differ in their seed, by seed.
    """
    return {
        "run": plain.directory.name,
        "labels": plain.labels,
        "levels": list(LEVELS),
        "sentences": [
            {**gates(plain, index), "held": held(plain, index), "attention": attention(attending, index)}
            for index in SENTENCES
        ],
        "accuracy": accuracies(plain),
    }


def gates(trained: Trained, index: int) -> dict[str, Any]:
    """Return the words of a test sentence, the prediction, and every gate and state of every unit."""
    found = explain(trained, trained.example(index), f"test {index}", has_target=True)
    return {
        "index": index,
        "text": found.title,
        "words": found.steps,
        "prediction": found.prediction,
        "target": found.target,
        "probabilities": list(found.probabilities.values()),
        "units": {name: found.units[f"layer0: {name}"] for name in GATES},
    }


@torch.no_grad()
def held(trained: Trained, index: int) -> dict[str, Any]:
    """Hold z and r at every pair of levels.

    Returns:
        `units`, the numbers of the units that are kept; and, each nested by level of z and of r,
        `probabilities`, `states` (unit, word) and `left`, the norm of ∂h_T/∂x_s of each word s.
    """
    batch = trained.example(index)
    states = _states(trained, batch)
    kept = (states.amax(0) - states.amin(0)).topk(UNITS).indices.sort().values
    result: dict[str, Any] = {"units": kept.tolist(), "probabilities": [], "states": [], "left": []}
    for z in LEVELS:
        row: dict[str, list[Any]] = {"probabilities": [], "states": [], "left": []}
        for r in LEVELS:
            changed = _held(trained, batch, z, r)
            embedded = changed.embed(batch.inputs)
            states = changed.stack(embedded, batch.lengths)
            values = changed.readout(states, batch.lengths).values[0]
            row["probabilities"].append(torch.softmax(values, -1).tolist())
            row["states"].append(states[0, :, kept].T.tolist())
            row["left"].append(connections(changed, embedded, batch.lengths, last=True).tolist())
        for name, of_row in row.items():
            result[name].append(of_row)
    return result


def _held(trained: Trained, batch: Batch, z: float | None, r: float | None) -> Encoder:
    """Return the network with its gates held; None leaves a gate as it is."""
    model = trained.model
    for gate, level in (("update", z), ("reset", r)):
        if level is not None:
            model = clamped(model, {gate: level}, batch.lengths, batch.inputs.shape[1])
    assert isinstance(model, Encoder)
    return model


def _states(trained: Trained, batch: Batch) -> Tensor:
    """Return the states (T, H) of one example."""
    return trained.model.stack(trained.model.embed(batch.inputs), batch.lengths)[0].detach()


@torch.no_grad()
def accuracies(trained: Trained) -> dict[str, Any]:
    """Measure the accuracy on the whole test split while z, or r, is held."""
    data = trained.data
    assert data.splits is not None
    batch = data.batch("test", range(len(data.splits.test)))
    result: dict[str, Any] = {"texts": len(batch.lengths)}
    for gate in ("update", "reset"):
        result[gate] = [_accuracy(_hold(trained, batch, gate, level), batch) for level in LEVELS]
    return result


def _hold(trained: Trained, batch: Batch, gate: str, level: float | None) -> Encoder:
    return _held(trained, batch, *((level, None) if gate == "update" else (None, level)))


def _accuracy(model: Encoder, batch: Batch) -> float:
    answers = ablation.predict(model, batch.inputs, batch.lengths).argmax(-1)
    return float((answers == batch.targets.view(-1)).double().mean())


@torch.no_grad()
def attention(attending: dict[int, Trained], index: int) -> dict[str, Any]:
    """Return attention and leave-one-out of each word, and Kendall's τ of the two, of every seed."""
    result: dict[str, Any] = {}
    for seed, trained in attending.items():
        batch = trained.example(index)
        model = trained.model
        assert isinstance(model, Encoder)
        with undisturbed(model):
            prediction = model(batch)
            every = torch.ones_like(batch.inputs, dtype=torch.bool)
            without = ablation.leave_one_out(model, batch.inputs, batch.lengths, every)
            change = attribution.prediction_change(trained.task, prediction.values[:, None], without)[0]
        weights = prediction.attention[0].mean(0)
        result[str(seed)] = {
            "weights": weights.tolist(),
            "leave_one_out": change.tolist(),
            "tau": float(kendalltau(weights.numpy(), change.numpy()).statistic),
            "prediction": trained.answers(batch)[0].label or NOTHING,
        }
    return result
