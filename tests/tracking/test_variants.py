"""Variants and conditions contain every difference between runs."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from conftest import Compose
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.config import ConfigError, resolved
from gatescope.tracking.identity import data_name, digest
from gatescope.tracking.run_names import display_name
from gatescope.tracking.sweep_checks import check_sweep
from gatescope.tracking.variants import Run, labels, labels_of, short_names


def told(config: Compose, *commands: str) -> list[str]:
    """Return the labels of runs, given a string of overrides for each."""
    return [label.text for label in labels_of([config(*words.split()) for words in commands])]


def test_equal_values_and_seeds_are_not_in_the_label(config: Compose) -> None:
    assert told(config, "seed=0", "seed=1", "model=lstm") == ["gru-none", "gru-none", "lstm-none"]


def test_every_differing_key_is_in_the_label_with_a_short_name(config: Compose) -> None:
    assert told(
        config,
        "optimizer.lr=0.1 seed=1",
        "optimizer.lr=0.001 seed=0",
        "model=lstm attention=dot +trainer.fast_dev_run=true data.seed=3",
    ) == [
        "gru-none data.seed=0 lr=0.1",
        "gru-none data.seed=0 lr=0.001",
        "lstm-dot data.seed=3 lr=0.001 fast_dev_run=true",
    ]


def test_a_models_own_keys_belong_to_its_name(config: Compose) -> None:
    """A hidden size or an argument of a cell that differs only with the model is left out."""
    words = (
        "model=gru model.hidden_size=8",
        "model=lstm model.hidden_size=6",
        "attention=dot",
        "model=lstm_chrono",
    )
    found = told(config, words[0], words[1], words[3])
    assert found == ["gru-none", "lstm-none", "lstm_chrono-none"]
    assert told(config, words[0], words[1], words[2]) == [
        "gru-none hidden_size=8",
        "lstm-none hidden_size=6",
        "gru-dot hidden_size=64",
    ]


def test_two_models_with_the_same_name_have_different_labels(config: Compose) -> None:
    same = ("model.layers=1", "model.layers=2", "model.layers=2 model.dropout=0.1", "attention=dot")
    assert told(config, *same) == [
        "gru-none dropout=0.0 layers=1",
        "gru-none dropout=0.0 layers=2",
        "gru-none dropout=0.1 layers=2",
        "gru-dot dropout=0.0 layers=1",
    ]
    assert told(config, "model=lstm model.name=mine", "model=gru model.name=mine") == [
        "mine-none cell._target_=gatescope.cells.lstm.LSTM forget_bias=null",
        "mine-none cell._target_=gatescope.cells.gru.GRU",
    ]


def test_keys_of_a_dataset_belong_to_its_name(config: Compose) -> None:
    """A length, rate or number of epochs that differs only with the dataset is left out."""
    assert told(
        config,
        "experiment=digits",
        "experiment=mnist1d",
        "experiment=mnist1d data.batch_size=7",
        "experiment=tweets",
    ) == [
        "gru-additive data=digits",
        "gru-additive data=mnist1d batch_size=100",
        "gru-additive data=mnist1d batch_size=7",
        "gru-additive data=tweets",
    ]


def test_an_optimizer_is_named_when_several_are_compared(config: Compose) -> None:
    assert told(config, "", "optimizer=sgd", "optimizer=sgd scheduler=cosine") == [
        "gru-none optimizer=Adam scheduler=none",
        "gru-none optimizer=SGD scheduler=none",
        "gru-none optimizer=SGD scheduler=cosine",
    ]


def test_decoders_are_variants(config: Compose) -> None:
    words = "data=dates attention=additive"
    assert told(config, words, f"{words} decoder=input_feeding") == [
        "gru-additive-recurrent",
        "gru-additive-input_feeding",
    ]
    assert told(config, words, "data=tweets attention=additive") == [
        "gru-additive data=dates",
        "gru-additive data=tweets",
    ]


def test_a_baseline_depends_on_data_and_model_alone(config: Compose) -> None:
    assert told(config, "optimizer.lr=0.1", "optimizer.lr=0.2", "model=tfidf_logistic attention=dot") == [
        "gru-none lr=0.1",
        "gru-none lr=0.2",
        "tfidf_logistic",
    ]


def test_two_classes_of_one_module_are_two_datasets() -> None:
    def run(kind: str, **data: Any) -> Run:
        node = {"_target_": f"my.tones.{kind}", **data}
        return Run({"variant": "gru-none", "cell": "gru", "data": data_name(node)}, {"data": node})

    found = labels({"a": run("Tones"), "b": run("Chords", notes=3), "c": run("Chords", notes=4)})
    assert {key: label.condition for key, label in found.items()} == {
        "a": "data=tones",
        "b": "data=chords, notes=3",
        "c": "data=chords, notes=4",
    }


def test_values_with_the_same_text_are_written_as_json() -> None:
    runs = {i: Run({"variant": "v"}, {"optimizer": {"a": a}}) for i, a in enumerate(["null", None, "1", 1])}
    assert [label.text for label in labels(runs).values()] == ['v a="null"', "v a=null", 'v a="1"', "v a=1"]


def test_short_names_are_the_shortest_unique_suffixes() -> None:
    found = short_names(["seed", "data.seed", "optimizer.lr", "scheduler.min_lr", "model.a.b", "decoder.a.b"])
    assert list(found) == sorted(found)
    assert found["optimizer.lr"] == "lr"
    assert found["data.seed"] == "data.seed"
    assert found["model.a.b"] == "model.a.b"
    assert len(set(found.values())) == len(found)


VALUES = st.sampled_from([None, True, 1, 1.0, "1", "null", "a, b=1", [0.9, 1], 0.001])
NAMES = st.sampled_from(["gru", "lstm", "gru-dot"])


@st.composite
def runs(draw: st.DrawFn) -> dict[int, Run]:
    """Generate runs with unusual names and values, with or without each section and key."""
    found = {}
    for place in range(draw(st.integers(1, 8))):
        cell, attention = draw(NAMES), draw(st.sampled_from(["none", "dot"]))
        data = draw(st.sampled_from(["copy", "tweets"]))
        result: dict[str, Any] = {
            "seed": draw(st.integers(0, 1)),
            "data": {"_target_": f"d.{data}.D", **draw(st.dictionaries(st.sampled_from("ab"), VALUES))},
            "model": {"name": cell, "cell": draw(st.dictionaries(st.sampled_from("ab"), VALUES))},
            "attention": {"_target_": attention, **draw(st.dictionaries(st.just("heads"), VALUES))},
        }
        for section in draw(st.sets(st.sampled_from(["optimizer", "scheduler", "trainer", "decoder"]))):
            result[section] = draw(st.dictionaries(st.sampled_from(["a", "_target_"]), VALUES))
        tags = {"cell": cell, "attention": attention, "data": data, "variant": f"{cell}-{attention}"}
        found[place] = Run(tags, result)
    return found


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(runs(), st.randoms())
def test_labels_are_equal_only_for_runs_that_differ_in_the_seed_alone(
    found: dict[int, Run], random: Any
) -> None:
    given_labels = labels(found)
    assert set(given_labels) == set(found)

    def configs(run: Run) -> str:
        return digest({name: value for name, value in run.result.items() if name != "seed"})

    for a in found:
        for b in found:
            alike = given_labels[a].text == given_labels[b].text
            columns = (given_labels[a].variant, given_labels[a].condition) == (
                given_labels[b].variant,
                given_labels[b].condition,
            )
            named = (found[a].tags["variant"], found[a].tags["data"]) == (
                found[b].tags["variant"],
                found[b].tags["data"],
            )
            if columns:
                assert configs(found[a]) == configs(found[b])
            if configs(found[a]) == configs(found[b]) and named:
                assert alike
    order = list(found)
    random.shuffle(order)
    assert labels({key: copy.deepcopy(found[key]) for key in order}) == given_labels


def test_a_display_name_contains_the_overrides(config: Compose) -> None:
    words = ["attention=additive", "optimizer.lr=0.003", "data.workers=2", "instruments=off", "kernel=torch"]
    assert display_name(config(*words), words) == "gru-additive kernel=torch lr=0.003 s0"
    words = ["data=adding", "data.seed=4", "+trainer.min_epochs=2", "seed=3"]
    assert display_name(config(*words), words) == "gru-none data=adding data.seed=4 min_epochs=2 s3"
    assert display_name(config(), []) == "gru-none s0"


@pytest.mark.parametrize("key", ["data.workers", "trainer.threads", "trainer.log_every_n_steps"])
def test_a_sweep_over_a_key_without_effect_is_refused(config: Compose, key: str) -> None:
    jobs = [["seed=0", f"{key}={value}"] for value in (1, 2)]
    with pytest.raises(ConfigError) as refused:
        check_sweep([json_config(config, words) for words in jobs], jobs)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{key}: given 1,2, but it cannot change the result of a run")
    assert "study.name=…" in problem


@pytest.mark.slow
def test_a_sweep_that_changes_some_result_is_not_refused(config: Compose) -> None:
    jobs = [
        [f"model={model}", f"optimizer.lr={rate}", "seed=0"]
        for model in ("gru", "tfidf_logistic")
        for rate in ("0.1", "1e-1", "0.2")
    ]
    check_sweep([json_config(config, words) for words in jobs], jobs)


def test_selecting_over_a_key_that_no_job_has_is_refused(config: Compose) -> None:
    words = ["study.select={over:[optimizer.lrr],by:validation/accuracy}"]
    with pytest.raises(
        ConfigError, match=r"study.select.over: given optimizer.lrr, .*did you mean optimizer.lr\?"
    ):
        check_sweep([json_config(config, words)], [words])


def json_config(config: Compose, words: list[str]) -> dict[str, Any]:
    return json.loads(json.dumps(resolved(config(*words))))  # type: ignore[no-any-return]
