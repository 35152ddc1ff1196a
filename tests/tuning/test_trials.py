"""The trials of a variant against a search by hand, and the journal that keeps them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.tuning.space import distributions, overrides, rounded
from gatescope.tuning.trials import Trials

SPACE = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dropout": [0.0, 0.3],
    "model.layers": {"low": 1, "high": 3},
    "model.hidden_size": None,
}


def trials(
    folder: Path, sampler: str = "random", budget: int = 6, name: str = "gru", seed: int = 0
) -> Trials:
    return Trials(folder / "a.journal", name, sampler, budget, SPACE, seed)


def run(search: Trials, results: int = 1000) -> dict[int, float]:
    """Give every trial the result −(log10(lr) + 2)², best at a rate of 0.01, until `results` are told."""
    told: dict[int, float] = {}
    while pending := search.open(2):
        for one in pending:
            if len(told) == results:
                return told
            told[one.number] = -((math.log10(one.params["optimizer.lr"]) + 2) ** 2)
            search.tell(one.number, told[one.number])
    return told


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_best_of_all_trials_is_found_after_a_stop(tmp_path: Path, sampler: str) -> None:
    first = run(trials(tmp_path, sampler), results=3)
    again = trials(tmp_path, sampler)
    assert again.results == 3
    told = first | run(again)
    assert sorted(told) == list(range(6))
    assert again.results == 6
    best = again.best
    assert best is not None
    assert best.number == max(told, key=lambda number: told[number])
    assert set(best.params) == {"optimizer.lr", "model.dropout", "model.layers"}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_what_is_proposed_does_not_depend_on_a_stop(tmp_path: Path, sampler: str) -> None:
    whole, stopped = trials(tmp_path, sampler, name="a"), trials(tmp_path, sampler, name="b")
    run(whole)
    run(stopped, results=2)
    run(trials(tmp_path, sampler, name="b"))
    reread = trials(tmp_path, sampler, name="b").best
    assert reread is not None
    assert whole.best is not None
    if sampler == "random":
        assert reread == whole.best


def test_random_trials_are_the_same_for_every_variant_and_grow_with_the_budget(tmp_path: Path) -> None:
    few, many = trials(tmp_path, name="gru").open(1), trials(tmp_path, name="lstm", budget=9).open(1)
    assert many[:6] == few
    assert len(many) == 9
    run(search := trials(tmp_path, name="gru"))
    assert [one.number for one in trials(tmp_path, name="gru", budget=9).open(1)] == [6, 7, 8]
    assert trials(tmp_path, name="other", seed=1).open(1) != few
    assert search.results == 6


def test_a_trial_without_a_result_counts_and_is_never_the_best(tmp_path: Path) -> None:
    search = trials(tmp_path, budget=2)
    search.tell(search.open(1)[0].number, None)
    search.tell(search.open(1)[0].number, -5.0)
    assert search.open(1) == []
    assert search.results == 2
    assert search.best is not None
    assert search.best.number == 1
    search.tell(0, 1.0)  # it has its result already
    assert search.best.number == 1


def test_tpe_proposes_near_the_best_results(tmp_path: Path) -> None:
    run(guided := trials(tmp_path, "tpe", budget=30, name="t"))
    done = guided._study.get_trials(deepcopy=False)
    errors = [abs(math.log10(one.params["optimizer.lr"]) + 2) for one in done]
    assert sum(errors[15:]) < sum(errors[:15])


@given(st.floats(1e-4, 1e-1))
@settings(max_examples=50)
def test_rounded_values_stay_in_their_range(rate: float) -> None:
    value = rounded({"optimizer.lr": rate}, distributions(SPACE))["optimizer.lr"]
    assert 1e-4 <= value <= 1e-1
    assert math.isclose(value, rate, rel_tol=0.006)
    assert len(f"{value:.10g}".lstrip("0.").replace("e-05", "")) <= 5


def test_overrides_of_all_kinds_of_values() -> None:
    words = list(overrides({"a.b": 0.01, "c": None, "d": "orthogonal", "e": True, "f": 3}))
    assert words == ["a.b=0.01", "c=null", "d='orthogonal'", "e=True", "f=3"]
