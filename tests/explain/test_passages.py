"""Passages of the test split, and weights before training, of real small runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trained_runs import TEXTS, trained_run

import gatescope
from gatescope.commands.explain import main
from gatescope.explain import explain, find_passages, untrained
from gatescope.trained import Trained

# With a step this small the weights after training are those before it, to the last bit but one.
STILL = ("optimizer.lr=1e-30", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return gatescope.load(trained_run(tmp_path_factory.mktemp("runs"), *TEXTS, *STILL))


def test_a_passage_is_where_the_unit_is_highest(trained: Trained) -> None:
    found = find_passages(trained, 30, but=7)
    assert found is not None
    assert found.searched == 29
    states = {
        index: torch.tensor(explain(trained, trained.example(index), "").units["layer0: state"])
        for index in range(30)
        if index != 7
    }
    for unit in (0, 5):
        largest = sorted((float(rows[unit].max()) for rows in states.values()), reverse=True)
        places = found.highest["layer0: state"][unit]
        assert [value for _, _, value in places] == pytest.approx(largest[: len(places)], abs=1e-4)
        for index, step, value in places:
            assert float(states[index][unit, step]) == pytest.approx(value, abs=1e-4)
            assert found.tokens[index] == trained.task.tokens(trained.example(index))[0]  # type: ignore[index]
        lowest = min(float(rows[unit].min()) for rows in states.values())
        assert found.lowest["layer0: state"][unit][0][2] == pytest.approx(lowest, abs=1e-4)


def test_the_weights_before_training_are_those_that_it_started_from(trained: Trained) -> None:
    before = untrained(trained).model.state_dict()
    for name, value in trained.model.state_dict().items():
        torch.testing.assert_close(before[name], value, msg=name)


def test_the_command_shows_two_models_side_by_side(trained: Trained, tmp_path: Path) -> None:
    run, out = str(trained.directory), tmp_path / "page.html"
    words = ["text=not bad at all", f"other={run}", "before=true", "passages=20", f"out={out}"]
    assert main([f"run={run}", *words]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.count('<article class="model"') == 3
    assert "before training" in text
    assert "Which words reach which" in text
    assert text.count('class="passages"') == 3
