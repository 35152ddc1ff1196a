"""The instrument of dynamics on networks that add up evidence by construction, and in a run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Compose
from small_models import encoder, feature_batch, squared_error
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.instruments.dynamics import Dynamics
from gatescope.instruments.measurements import TESTED, Curve, Heatmap, Measurements, Points, Undefined
from gatescope.instruments.probe import Probe, probe_model
from gatescope.models.attention import Pooling
from gatescope.models.encoder import Encoder
from gatescope.run import run
from gatescope.sequences import Batch, TaskSpec, valid_mask

WORDS = 30
GENERATOR = torch.Generator().manual_seed(0)
EVIDENCE = torch.randn(WORDS, 2, generator=GENERATOR, dtype=torch.float64)
"""The evidence of each word along two directions; a network adds up one or both."""
DIRECTIONS = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.float64)
"""Three classes in the plane of the evidence."""


def adding_model(classes: int) -> Encoder:
    """Build a tanh RNN with small, linear states that keeps sums of evidence and forgets the rest."""
    outputs = 1 if classes == 2 else classes
    task = TaskSpec("classification", "tokens", WORDS, outputs, "accuracy", "max", padding_index=0)
    model = Encoder(task, RNN, Pooling, hidden_size=6, embedding_size=4).double().eval()
    layer = model.stack.layers["layer0"]
    assert model.embedding is not None
    with torch.no_grad():
        for weight in layer.weights:
            weight.zero_()
        noise = torch.randn(WORDS, 2, generator=GENERATOR, dtype=torch.float64)
        model.embedding.weight.copy_(1e-3 * torch.cat([EVIDENCE, noise], dim=1))
        layer.input_weights[:4] = torch.eye(4)
        kept = [1.0, 1.0 if classes > 2 else 0.3, 0.5, 0.4, 0.2, 0.1]
        layer.recurrent_weights.copy_(torch.diag(torch.tensor(kept)))
        reading = torch.zeros(outputs, 6, dtype=torch.float64)
        if classes == 2:
            reading[0, 0] = 1
        else:
            reading[:, :2] = DIRECTIONS
        model.head.weight.copy_(1e3 * reading)
        model.head.bias.zero_()
    return model


def texts(classes: int, count: int, seed: int) -> Batch:
    """Draw texts whose label is that of the larger evidence."""
    rng = np.random.default_rng(seed)
    lengths = torch.from_numpy(rng.integers(5, 13, count))
    inputs = torch.from_numpy(rng.integers(1, WORDS, (count, 12))) * valid_mask(lengths, 12)
    total = (EVIDENCE[inputs] * valid_mask(lengths, 12)[..., None]).sum(1)
    targets = (total[:, 0] > 0).long() if classes == 2 else (total @ DIRECTIONS.T).argmax(1)
    return Batch(inputs, lengths, targets, torch.arange(count))


def measured(classes: int, tested: bool = True, **options: Any) -> Measurements:
    def loss(values: Tensor, targets: Tensor) -> Tensor:
        if classes == 2:
            return binary_cross_entropy_with_logits(values[:, 0], targets.double(), reduction="none")
        return cross_entropy(values, targets, reduction="none")

    probe = probe_model(adding_model(classes), texts(classes, 60, 1), loss)
    probe.tested, probe.train = tested, lambda count: texts(classes, min(count, 600), 2)
    probe.tokens = probe.task.tokens(probe.batch)
    return Dynamics(at="zero", least=5, **options).read(probe)


def values(measurements: Measurements) -> dict[str, float]:
    return {
        name.rpartition("/")[2]: one.value  # type: ignore[union-attr]
        for name, one in measurements.items()
        if one.kind == "scalar"
    }


@pytest.mark.parametrize("classes", [2, 3])
def test_a_network_that_adds_up_evidence_has_an_attractor_of_the_dimensions_of_its_classes(
    classes: int,
) -> None:
    found = measured(classes)
    got = values(found)
    assert got["share"] > 0.999
    assert got["participation_ratio"] == pytest.approx(classes - 1, abs=0.4)
    assert got["extent"] == pytest.approx(1, abs=0.4), "each point counts once, whatever leads to it"
    assert got["points"] > 30
    assert (got["reached_share"], got["minima_share"], got["outlier_share"]) == (1, 0, 0)
    assert got["slow_time_constant"] > 1000
    assert got["next_time_constant"] == pytest.approx(-1 / np.log(0.5), rel=0.01)
    assert got["slow_modes"] == classes - 1
    assert got["alignment"] > 0.999
    assert got["alignment_chance"] == pytest.approx(((classes - 1) / 6) ** 0.5)
    assert got["accuracy"] == got["linearised_accuracy"] == got["agreement"] == 1
    # Both are the evidence, the regression with noise.
    assert got["word_correlation"] > 0.9
    assert got["later_correlation"] == pytest.approx(got["word_correlation"], abs=0.01)
    effects = found["dynamics/layer0/word_effects"]
    assert isinstance(effects, Heatmap)
    ids = [int(word) for word in effects.y]
    truth = EVIDENCE[ids, 0] if classes == 2 else EVIDENCE[ids] @ DIRECTIONS[2]
    assert np.corrcoef(np.array(effects.values)[:, 0], truth)[0, 1] > 0.999
    spectrum = found["dynamics/layer0/time_constants"]
    assert isinstance(spectrum, Curve)
    kept = [0.5, 0.4, 0.3] if classes == 2 else [0.5, 0.4, 0.2]
    assert spectrum.y[classes - 1 :][:3] == pytest.approx((-1 / np.log(kept)).tolist(), rel=0.01)


def test_the_plane_shows_the_points_and_states_of_texts() -> None:
    found = measured(2, walks=4)
    plane, walks, walk = (found[f"dynamics/layer0/{name}"] for name in ("plane", "walks", "walk"))
    assert isinstance(plane, Points)
    assert isinstance(walks, Points)
    assert isinstance(walk, Heatmap)
    assert np.ptp(plane.columns["first"]) > 5 * np.ptp(plane.columns["second"])
    columns = {name: np.array(column) for name, column in walks.columns.items()}
    assert len(np.unique(columns["example"])) == 4
    assert sorted(columns["target"][columns["step"] == 0]) == [0, 0, 1, 1]
    # The first component is the sum of the evidence, towards the last class.
    ends = [columns["first"][columns["example"] == row][-1] for row in np.unique(columns["example"])]
    targets = [columns["target"][columns["example"] == row][-1] for row in np.unique(columns["example"])]
    assert [end > min(ends) + np.ptp(ends) * 0.3 for end in ends] == [bool(t) for t in targets]
    assert len(walk.x) == len(walk.values[0])


def test_less_is_measured_while_training() -> None:
    early, late = measured(2, tested=False), measured(2)
    assert set(early) < set(late)
    assert values(early)["share"] > 0.99
    assert not any(
        name.rpartition("/")[2] in ("walks", "time_constants", "word_correlation") for name in early
    )


def test_other_tasks_have_points_and_modes_only() -> None:
    probe = probe_model(encoder(LSTM, layers=2), feature_batch([9, 7, 3, 8, 2], 3), squared_error)
    probe.tested = True
    found = Dynamics().read(probe)
    for layer in ("layer0", "layer1"):
        assert values(found)[("points")] >= 1
        assert f"dynamics/{layer}/alignment" not in found
        assert isinstance(found[f"dynamics/{layer}/word_correlation"], Undefined)
    assert isinstance(found["dynamics/linearised_accuracy"], Undefined)


def test_states_that_are_not_finite_are_named() -> None:
    model = encoder(RNN)
    with torch.no_grad():
        model.stack.layers["layer0"].recurrent_weights.fill_(float("nan"))
    found = Dynamics().read(probe_model(model, feature_batch([4, 4], 3), squared_error))
    assert found == {"dynamics/layer0/points": Undefined("the state is not finite")}


def test_the_model_stays_unchanged() -> None:
    model = encoder(LSTM)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    probe: Probe = probe_model(model, feature_batch([5, 4], 3), squared_error)
    probe.tested = True
    Dynamics().read(probe)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_run_measures_more_for_the_tested_weights(config: Compose) -> None:
    small = ("data=delayed_recall", "data.lag=6", "data.train=128", "data.validation=32", "data.test=32")
    model = ("data.batch_size=32", "model=gru", "model.hidden_size=6", "trainer.max_steps=2")
    instruments = ("instruments=dynamics", "instruments.examples=16", "instruments.readers.dynamics.least=2")
    cfg = config(*FAST, *small, *model, *instruments)
    text = (run(cfg).directory / "readings.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    names = {(row["step"], row["name"]) for row in rows}
    assert {step for step, name in names if name == "dynamics/layer0/points"} == {0, 1, 2}
    assert (0, "dynamics/layer0/time_constants") not in names
    assert any(name == f"{TESTED}dynamics/layer0/time_constants" for _, name in names)
    tested = {row["name"]: row for row in rows if row["name"].startswith(TESTED)}
    assert tested[f"{TESTED}dynamics/layer0/words"]["value"] > 3, "the train split was counted"
    assert tested[f"{TESTED}dynamics/accuracy"]["kind"] == "scalar"
