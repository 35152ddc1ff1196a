"""`gatescope.load(run).trace(…)`, and interventions, in runs that really trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trained_runs import SERIES, TEXTS, trained_run

import gatescope
from gatescope.cells.state import State
from gatescope.trained import Trained
from gatescope.watching.errors import WatchError

TEXT, OTHER = "not bad at all", "what a great day it was"
SMALL = [*SERIES, "model.hidden_size=4"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return gatescope.load(
        trained_run(tmp_path_factory.mktemp("texts"), "model=gru", *TEXTS, "data.limit=200")
    )


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    options = ["model=lstm", "model.bidirectional=true", "attention=none"]
    return gatescope.load(trained_run(tmp_path_factory.mktemp("lstm"), *SMALL, *options))


def probability(trained: Trained, text: str, **clamp: Any) -> float:
    (answer,) = trained.trace(text, clamp=clamp or None).predictions
    return max(answer.probabilities.values())


def test_a_trace_holds_the_prediction_and_everything_behind_it(texts: Trained) -> None:
    trace = texts.trace([TEXT, OTHER])
    assert trace.predictions == texts.predict([TEXT, OTHER])
    assert trace.tokens[0] == ["not", "<unk>", "at", "all"]
    assert {"reset", "update", "keep", "candidate"} == set(trace.gates)
    assert trace.gates["update"].shape == (1, 1, 2, len(trace.tokens[1]), 6)
    torch.testing.assert_close(trace.attention.values.nansum(-1), torch.ones(2, 1))
    assert set(trace.attributions) == {"gradient_times_input", "integrated_gradients"}

    # The gradient of the explained output against a change of the state.
    table = trace.to_dataframe()
    assert len(table) == (4 + len(trace.tokens[1])) * 6
    assert {"token", "h", "update", "gradient_h", "attention", "integrated_gradients"} <= set(table)
    assert table.query("example == 0 and step == 2")["token"].unique().tolist() == ["at"]
    logs = [torch.tensor(max(a.probabilities.values())).log() for a in trace.predictions]
    torch.testing.assert_close(trace.output, torch.stack(logs), atol=1e-5, rtol=1e-4)


def test_the_gradient_of_a_state_is_the_effect_of_changing_it(lstm: Trained) -> None:
    sequence = torch.rand(7, 2, generator=torch.Generator().manual_seed(0)).tolist()
    before = lstm.trace([sequence])
    for part, name in (("h", "state"), ("c", "memory")):
        for direction in ("forward", "backward"):
            for step in (0, 3):
                where = {"layer": 0, "direction": direction, "step": step, "unit": 1}
                start = float(before.states[part].sel(**where).values)
                outputs = [
                    lstm.trace([sequence], clamp={name: start + change, **where}).output.double().item()
                    for change in (0.0, -0.01, 0.01)
                ]
                assert outputs[0] == pytest.approx(before.output.item(), abs=1e-6)
                effect = (outputs[2] - outputs[1]) / 0.02
                gradient = float(before.state_gradients[part].sel(**where).values)
                assert effect == pytest.approx(gradient, abs=2e-4)


def test_a_clamped_gate_is_what_it_is_clamped_to(texts: Trained) -> None:
    shut = texts.trace(TEXT, clamp={"update": 0.0})
    assert not shut.gates["update"].values.any()
    assert not shut.states["h"].values.any()  # nothing is ever written
    one = texts.trace(TEXT, clamp={"update": 0.25, "unit": 2})
    free = texts.trace(TEXT)
    torch.testing.assert_close(one.gates["update"].values[..., 2], torch.full((1, 1, 1, 4), 0.25))
    torch.testing.assert_close(one.gates["keep"].values[..., 2], torch.full((1, 1, 1, 4), 0.75))
    same = [0, 1, 3, 4, 5]
    assert torch.equal(one.gates["update"].values[..., 0, same], free.gates["update"].values[..., 0, same])
    assert probability(texts, TEXT, update=0.0) != probability(texts, TEXT)
    for gate in ("reset", "keep", "candidate"):
        held = texts.trace(TEXT, clamp={gate: 1.0, "unit": [0, 5]}).gates[gate].values[..., [0, 5]]
        assert bool((held == 1).all())


def test_units_are_taken_out_and_states_are_swapped(texts: Trained) -> None:
    out = texts.trace(TEXT, clamp={"state": 0.0, "unit": [1, 4]})
    assert not out.states["h"].values[..., [1, 4]].any()
    assert out.states["h"].values[..., [0, 2, 3, 5]].all()
    # By hand: the cell's own step, with two units set to 0 after every step.
    cell, x = texts.model.stack.layers["layer0"], texts.model.embed(texts.encode(TEXT).inputs)
    h = torch.zeros(1, 6)
    for t in range(4):
        h = cell.step(x[:, t], State(h)).h
        h[:, [1, 4]] = 0
        torch.testing.assert_close(out.states["h"].values[0, 0, :, t], h)

    other = texts.trace("bad not at all")
    swapped = texts.trace(TEXT, clamp={"state": other.states["h"], "step": 1})
    # After the swap the last two words are the same, and so are the states.
    torch.testing.assert_close(swapped.states["h"].values[..., 1:, :], other.states["h"].values[..., 1:, :])
    first = texts.trace(TEXT).states["h"].values[..., 0, :]
    torch.testing.assert_close(swapped.states["h"].values[..., 0, :], first)


@pytest.mark.parametrize("name", ["lstm", "mingru", "gru_article"])
def test_gates_of_other_cells(name: str, tmp_path: Path) -> None:
    trained = gatescope.load(trained_run(tmp_path, *SMALL, f"model={name}", "trainer.max_epochs=1"))
    gate = "forget" if name == "lstm" else "update"
    sequence = torch.rand(5, 2).tolist()
    for value in (0.0, 0.3, 1.0):
        trace = trained.trace([sequence], clamp={gate: value})
        torch.testing.assert_close(trace.gates[gate].values, torch.full((1, 1, 1, 5, 4), value))
        assert trace.state_gradients["h"].values.isfinite().all()


def test_messages(texts: Trained, lstm: Trained, tmp_path: Path) -> None:
    for clamp, message in [
        (
            {"forget": 0.0},
            "GRU has no gate 'forget' to clamp; it has reset, update, keep, candidate, state, mem",
        ),
        ({"update": 2.0}, "update=2 is not between 0 and 1"),
        ({"update": 0.0, "unit": 6}, "there is no unit 6; there are 0 to 5"),
        ({"update": 0.0, "layer": 1}, "there is no layer 1; there are 0 to 0"),
        ({"update": 0.0, "direction": "backward"}, "no direction 'backward'; there are forward"),
        ({"update": 0.0, "step": 1}, "leave out step for update"),
        ({"unit": 3}, "clamp names no gate and no state"),
        ({"memory": 0.0}, "GRU has no memory to clamp"),
        ({"state": "other"}, "takes a number, or the states of another trace"),
        ({"state": texts.trace("not").states["h"]}, "the other trace has no step 1, its steps are 0 to 0"),
        ({"state": lstm.trace([[[0.1, 1.0]] * 4]).states["h"]}, "do not fit"),
    ]:
        with pytest.raises(WatchError, match=message):
            texts.trace(TEXT, clamp=clamp)
    trained = gatescope.load(trained_run(tmp_path, *SMALL, "model=minlstm", "trainer.max_epochs=1"))
    with pytest.raises(WatchError, match="forget of MinLSTM is no function of its own weights alone"):
        trained.trace([[[0.5, 1.0]] * 4], clamp={"forget": 0.5})
