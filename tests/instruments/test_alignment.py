"""Attention of a decoder compared with a constructed truth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.instruments.alignment import AlignmentAccuracy
from gatescope.instruments.attention import AttentionStatistics
from gatescope.instruments.measurements import Heatmap, Undefined
from gatescope.instruments.probe import Probe
from gatescope.models.attention import Dot
from gatescope.models.seq2seq import Seq2Seq
from gatescope.sequences import END, IGNORE, Batch, TaskSpec

TASK = TaskSpec("transduction", "tokens", 5, 3, "exact_match", "max", target_vocabulary=("<end>", "a", "b"))


def probe(weights: Tensor, alignment: Tensor | None) -> Probe:
    """Two sequences of 4 and 2 steps; targets of 2 symbols with their ends, of which one is followed by a
    further answer."""
    targets = torch.tensor([[1, 2, END, 2, END], [2, END, IGNORE, IGNORE, IGNORE]])
    batch = Batch(torch.ones(2, 4, dtype=torch.long), torch.tensor([4, 2]), targets, torch.arange(2))
    states = torch.zeros(2, 4, 4)
    model = Seq2Seq(TASK, GRU, Dot, hidden_size=4, embedding_size=3)
    tokens = [["p", "q", "r", "s"], ["p", "q"]]
    return Probe(0, model, batch, states, states, {}, weights, 0.0, states, tokens, alignment)


@pytest.fixture
def weights() -> Tensor:
    """(2, 3, 1, 4): weight 1 on the first source step, then equal weights."""
    made = torch.zeros(2, 3, 1, 4)
    made[:, 0, 0, 0] = 1
    made[0, 1:, 0] = 0.25
    made[1, 1:, 0, :2] = 0.5
    return made


def test_accuracy_mass_and_chance_over_symbols_with_a_source(weights: Tensor) -> None:
    truth = torch.zeros(2, 5, 4, dtype=torch.bool)
    truth[0, 0, 0] = truth[0, 1, 2:] = truth[1, 0, 1] = True
    truth[0, 3, 0] = True  # of the further answer, which is not read
    measurements = AlignmentAccuracy().read(probe(weights, truth))
    values = {
        name: measurement.value for name, measurement in measurements.items() if hasattr(measurement, "value")
    }
    # Right at (0, 0); at (0, 1) the largest of equal weights is the first, which is wrong; wrong at (1, 0).
    assert values == pytest.approx(
        {
            "alignment/accuracy": 1 / 3,
            "alignment/mass": (1 + 0.5 + 0) / 3,
            "alignment/chance": (1 / 4 + 2 / 4 + 1 / 2) / 3,
        }
    )


def test_the_example_has_the_symbols_of_both_sides(weights: Tensor) -> None:
    (found,) = AlignmentAccuracy().read(probe(weights, None)).values()
    assert isinstance(found, Heatmap)
    assert (found.x, found.y) == (["p", "q", "r", "s"], ["a", "b", "<end>"])
    assert found.values == [[1, 0, 0, 0], [0.25] * 4, [0.25] * 4]


def test_no_known_source_is_undefined(weights: Tensor) -> None:
    measurements = AlignmentAccuracy().read(probe(weights, torch.zeros(2, 5, 4, dtype=torch.bool)))
    assert isinstance(measurements["alignment/accuracy"], Undefined)


def test_encoder_attention_has_no_alignment() -> None:
    assert AlignmentAccuracy().read(probe(torch.full((2, 1, 4), 0.25), None)) == {}


def test_attention_statistics_use_target_steps_of_the_first_answer(weights: Tensor) -> None:
    measurements = AttentionStatistics().read(probe(weights, None))
    values = {name: measurement.value for name, measurement in measurements.items()}
    # Sharp at the first step of both; even over 4, 4 and 2 steps at the others.
    assert values["attention/entropy"] == pytest.approx(3 / 5)
    assert values["attention/effective_length"] == pytest.approx((1 + 4 + 4 + 1 + 2) / 5)
    assert "attention/distance" not in values
