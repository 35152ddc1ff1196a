"""The explanation of a prediction against the model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trained_runs import SERIES, TEXTS, trained_run

import gatescope
from gatescope.data.errors import DataError
from gatescope.explain import Explanation, Row, explain, page, strip
from gatescope.explain.numbers import texts
from gatescope.explain.page import shares
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch
from gatescope.trained import Trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    deep = ("model=lstm", "model.layers=2", "model.bidirectional=true")
    return gatescope.load(trained_run(tmp_path_factory.mktemp("runs"), *TEXTS, *deep))


@pytest.fixture(scope="module")
def batch(trained: Trained) -> Batch:
    return trained.encode(["the day is good, not bad"])


@pytest.fixture(scope="module")
def explanation(trained: Trained, batch: Batch) -> Explanation:
    return explain(trained, batch, "the day is good, not bad")


def row(explanation: Explanation, name: str) -> list[float]:
    (only,) = [one for one in explanation.rows if one.name == name]
    assert all(value is not None for value in only.values)
    return [float(value) for value in only.values if value is not None]


def test_attention_and_probabilities_equal_the_model(
    trained: Trained, batch: Batch, explanation: Explanation
) -> None:
    prediction = trained.model(batch)
    assert row(explanation, "attention") == pytest.approx(prediction.attention[0, 0].tolist(), abs=1e-6)
    assert list(explanation.probabilities.values()) == pytest.approx(
        torch.softmax(prediction.values[0], -1).tolist(), abs=1e-6
    )
    assert explanation.prediction == max(
        explanation.probabilities, key=lambda name: explanation.probabilities[name]
    )
    assert explanation.steps == ["the", "day", "is", "good", ",", "not", "bad"]


def test_gradients_at_the_states_equal_autograd(
    trained: Trained, batch: Batch, explanation: Explanation
) -> None:
    assert isinstance(trained.model, Encoder)
    states = trained.model.stack(trained.model.embed(batch.inputs), batch.lengths).detach().requires_grad_()
    values = trained.model.readout(states, batch.lengths).values
    torch.log_softmax(values, -1).max().backward()
    assert states.grad is not None
    forward, backward = states.grad[0].chunk(2, -1)
    # The last state of either direction is reached from outside alone.
    assert row(explanation, "layer1: ‖∂L/∂h‖")[-1] == pytest.approx(forward[-1].norm().item(), rel=1e-4)
    assert row(explanation, "layer1_backward: ‖∂L/∂h‖")[0] == pytest.approx(
        backward[0].norm().item(), rel=1e-4
    )


def test_norms_and_gates_equal_those_of_single_steps(
    trained: Trained, batch: Batch, explanation: Explanation
) -> None:
    x = trained.model.embed(batch.inputs)
    for name, times in (("layer0", range(7)), ("layer0_backward", reversed(range(7)))):
        cell = trained.model.stack.layers[name]
        state = cell.zero_state(x)  # type: ignore[operator]
        for t in times:
            before, state = state, cell.step(x[:, t], state)  # type: ignore[operator]
            assert row(explanation, f"{name}: ‖h‖")[t] == pytest.approx(state.h.norm().item(), rel=1e-4)
            change = (state.h - before.h).norm().item()
            assert row(explanation, f"{name}: ‖Δh‖")[t] == pytest.approx(change, rel=1e-4)
            unit = [values[t] for values in explanation.units[f"{name}: state"]]
            assert unit == pytest.approx(state.h[0].tolist(), abs=1e-4)
    forget = torch.tensor(explanation.units["layer0: forget"])
    assert row(explanation, "layer0: forget gate") == pytest.approx(forget.mean(0).tolist(), abs=1e-4)


def test_leave_one_out_equals_predicting_without_the_token(
    trained: Trained, explanation: Explanation
) -> None:
    before = explanation.probabilities
    after = trained.predict(["the day is good, bad"])[0].probabilities
    moved = sum(abs(before[name] - after[name]) for name in before) / 2
    assert row(explanation, "leave-one-out")[5] == pytest.approx(moved, abs=1e-5)


def test_features_and_a_regression(tmp_path: Path) -> None:
    trained = gatescope.load(trained_run(tmp_path, *SERIES, "model.hidden_size=5", "trainer.max_epochs=1"))
    explanation = explain(trained, trained.example(2), "test 2", has_target=True)
    assert explanation.steps == [str(t) for t in range(8)]
    assert len(explanation.features) == 2
    assert float(explanation.prediction) == pytest.approx(
        trained.answers(trained.example(2))[0].value, rel=1e-3
    )
    assert explanation.target == f"{float(trained.example(2).targets[0]):.4g}"
    assert {"gradient × input", "leave-one-out", "layer0: update gate"} <= {
        one.name for one in explanation.rows
    }
    assert "attention" not in {one.name for one in explanation.rows}


def test_a_transduction_is_aligned(tmp_path: Path) -> None:
    sizes = ("data=dates", "data.train=64", "data.validation=16", "data.test=16", "model.hidden_size=6")
    trained = gatescope.load(trained_run(tmp_path, *sizes, "attention=dot", "trainer.max_epochs=1"))
    explanation = explain(trained, trained.example(0), "test 0", has_target=True)
    assert explanation.alignment is not None
    assert len(explanation.alignment.weights) == len(explanation.alignment.symbols)
    assert all(sum(weights) == pytest.approx(1, abs=1e-2) for weights in explanation.alignment.weights)
    assert all(len(weights) == len(explanation.steps) for weights in explanation.alignment.weights)
    assert explanation.prediction == " ".join(explanation.alignment.symbols)
    assert "Attention weights of each target symbol" in page(explanation)


def test_one_example_at_a_time(trained: Trained) -> None:
    with pytest.raises((DataError, ValueError), match=r"one example|values to unpack"):
        explain(trained, trained.encode(["the day", "the day"]), "two")


def test_the_strip_is_readable_without_colour_and_fits(explanation: Explanation) -> None:
    text = strip(explanation, colour=False, width=40)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 40
    assert explanation.prediction in text
    weights = row(explanation, "attention")
    assert f"{max(weights):.3f}" in text
    lines = text.split("\nattention\n")[1].splitlines()
    assert lines[1].split()[:2] == ["the", "day"]
    assert "█" in text.split("\nattention\n")[1].split("\n\n")[0], "the greatest weight has a full bar"
    assert "\x1b[30;48;5;" in strip(explanation, colour=True, width=40)


def test_wide_characters_stand_below_their_bars(explanation: Explanation) -> None:
    wide = replace(explanation, steps=["好"] * len(explanation.steps))
    bars, steps, numbers = strip(wide, width=200).split("\nattention\n")[1].splitlines()[:3]
    assert {len(number) for number in numbers.split()} == {5}
    # Five cells each: a character of two, and three spaces.
    assert steps == ("  " + " ".join(["好   "] * len(wide.steps))).rstrip()
    assert len(bars) <= len(numbers)


def test_cells_are_filled_relative_to_their_row() -> None:
    assert shares(Row("x", [0.5, -1.0, None], "")) == [0.5, 1.0, 0.0]
    assert shares(Row("layer0: update gate", [0.5, 0.25], "")) == [0.5, 0.25], "a gate is a share of 1"
    assert shares(Row("x", [0.0, 0.0], "")) == [0.0, 0.0]


def test_the_numbers_of_a_row_have_the_decimals_of_the_largest() -> None:
    assert texts([None, 0.0, -0.25, 0.001]) == ["–", "0.000", "−0.250", "0.001"]
    assert texts([12.34, -1.0]) == ["12.3", "−1.0"]
    assert texts([0.00042, -0.0000001], signed=True) == ["+0.000420", "0.000000"]
    assert texts([0.0, None]) == ["0.00", "–"]


def test_a_page_escapes_the_input(explanation: Explanation) -> None:
    evil = Explanation("r", "<script>alert(1)</script>", "a&b", ["<b>", "</script>"], [], {"g": [[0, 1]]})
    text = page(evil)
    assert "<script>alert" not in text
    assert "&lt;b&gt;" in text
    assert page(explanation) == page(explanation)
    assert len(page(explanation)) < 2_000_000
