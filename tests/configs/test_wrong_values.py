"""Wrong values, drawn from the configs themselves: each is refused by its key before anything starts."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from configs.test_check import LOADER, problems
from conftest import SMALL, Compose, first_few
from omegaconf import OmegaConf

from gatescope.cli import main
from gatescope.composition import compose
from gatescope.config import ConfigError, check
from gatescope.conflicts import unused
from gatescope.run import run

BASES = (
    (),
    ("data=tweets", "attention=additive", "scheduler=cosine", "model=lstm"),
    ("data=text_file", "data.path=x.csv", "scheduler=plateau"),
    ("data=series_file", "data.path=x.npz", "optimizer=sgd", "model=lru"),
    ("data=conll_file", "data.path=x.conll", "optimizer=adamw"),
    ("data=pairs_file", "data.path=x.tsv", "decoder=recurrent", "attention=additive"),
    ("data=audio_folder", "data.path=x", "instruments=full"),
    ("data=audio_manifest", "data.path=x"),
    ("data=spoken_numbers", "decoder.beam=4"),
    ("data=tweets", "model=tfidf_logistic"),
    ("data=gunpoint", "model=series_logistic"),
    ("data=copy", "model=rglru"),
    ("data=moving_digits", "decoder=input_feeding"),
)
NESTED = {"a": {"b": 1}}
NO_TEXT = ("\0", "a\udcff")
WRONG: dict[type, tuple[Any, ...]] = {
    bool: ("abc", 2, math.nan, [], "", "ü", NESTED, *NO_TEXT),
    int: ("abc", math.nan, math.inf, 10**30, -(10**13), "", "ü", NESTED, ["x"], *NO_TEXT),
    float: (
        "abc",
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        1e300,
        -(10**13),
        "",
        "ü",
        NESTED,
        ["x"],
        *NO_TEXT,
    ),
    str: (1.5, True, NESTED, [[]], *NO_TEXT),
    type(None): (NESTED, [{"a": 1}], math.nan, *NO_TEXT),
    list: (NESTED, 1.5, math.nan, [[math.nan]], *NO_TEXT),
}
"""Values that are wrong for every key whose default is of this type."""


def leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{prefix}.{name}" if prefix else name
        yield from leaves(value, key) if isinstance(value, dict) and value else [(key, value)]


@cache
def candidates() -> list[tuple[dict[str, Any], str, Any]]:
    """Return every config with each of its keys and each value that is wrong there."""
    found = []
    for words in BASES:
        plain: Any = OmegaConf.to_container(compose(LOADER, list(words)), resolve=True)
        plain.pop("hydra", None)
        for key, value in leaves(plain):
            found += [(plain, key, wrong) for wrong in WRONG.get(type(value), ())]
    return found


def draws(count: int, seed: int) -> list[tuple[dict[str, Any], str, Any]]:
    return random.Random(seed).sample(candidates(), count)


def changed(plain: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    cfg = copy.deepcopy(plain)
    *path, last = key.split(".")
    node = cfg
    for name in path:
        node = node[name]
    node[last] = value
    return cfg


def accepted(count: int, seed: int) -> list[str]:
    """Return what of these draws was not refused in a message with the key, or the section it belongs to."""
    wrong = []
    for plain, key, value in draws(count, seed):
        try:
            check(changed(plain, key, value))
        except ConfigError as error:
            if not any(
                p.startswith((f"{key}:", f"{key}.", f"{key.rpartition('.')[0]}:")) for p in error.problems
            ):
                wrong.append(f"{key}={value!a}: {error.problems}")
        except Exception as error:
            wrong.append(f"{key}={value!a}: {type(error).__name__} {error}")
        else:
            wrong.append(f"{key}={value!a}")
    return wrong


def test_drawn_values_are_refused_by_their_key() -> None:
    assert accepted(60, seed=0) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_drawn_values_are_refused_by_their_key(seed: int) -> None:
    assert accepted(400, seed) == []


@pytest.mark.parametrize("keys", [("study", "parameters"), ("trainer", "devices"), ("data",)])
def test_a_missing_section_or_key_is_named(keys: tuple[str, ...]) -> None:
    cfg = copy.deepcopy(candidates()[0][0])
    node = cfg
    for name in keys[:-1]:
        node = node[name]
    del node[keys[-1]]
    with pytest.raises(ConfigError, match=rf"{'.'.join(keys)}.*missing"):
        check(cfg)


CONFLICTS = {
    "data=conll_file data.path=x decoder=recurrent": "decoder: given, and these data have a tag",
    "data=text_file data.path=x data.kind=classification decoder=recurrent": "decoder: given, and these",
    "data=pairs_file data.path=x decoder=none": "decoder: given none, and these data need one",
    "data=conll_file data.path=x attention=dot": "attention: given Dot",
    "data=chorales model.bidirectional=true": "model.bidirectional: given true",
    "data=copy attention=uniform": "attention: given Uniform",
    "data=text_file data.path=x data.kind=regression model=tfidf_logistic": "model: tfidf_logistic predicts",
    "data=text_file data.path=x data.kind=multilabel model=tfidf_logistic": "model: tfidf_logistic predicts",
    "data=text_file data.path=x data.encoding=hex": 'data.encoding: given "hex"',
    "data=text_file data.path=x data.decimal=comma data.thousands=comma": "data.thousands: given comma",
    "optimizer.eps=-1": "optimizer.eps: given -1",
    "optimizer=sgd optimizer.momentum=-1": "optimizer.momentum: given -1",
    "optimizer.betas=[0.9,1.5]": "optimizer.betas: given [0.9, 1.5]",
    "scheduler=plateau scheduler.factor=1.5": "scheduler.factor: given 1.5",
    "scheduler=cosine scheduler.eta_min=-1": "scheduler.eta_min: given -1",
}


@pytest.mark.parametrize("words", first_few(CONFLICTS, 5))
def test_what_does_not_fit_together_is_named(words: str) -> None:
    (found,) = problems(*words.split())
    assert found.startswith(CONFLICTS[words])


def test_what_a_baseline_does_not_use_is_refused_in_a_command_for_one_run() -> None:
    """A recipe, an experiment and the grid of a sweep choose for all models alike."""
    words = ["data=gunpoint", "recipe=series", "model=majority"]
    plain: Any = OmegaConf.to_container(compose(LOADER, words), resolve=False)
    assert plain["attention"]["_target_"].endswith(".Additive")
    assert list(unused(plain, words)) == []
    words += ["attention=additive", "decoder=recurrent"]
    plain = OmegaConf.to_container(compose(LOADER, words), resolve=False)
    assert list(unused(plain, words)) == [
        "attention: given attention=additive, and model=majority has none: leave it out",
        "decoder: given decoder=recurrent, and model=majority has none: leave it out",
    ]
    assert list(unused(plain | {"model": {"name": "gru"}}, words)) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=majority", "attention=dot"], "attention: given attention=dot, and model=majority has none"),
        (["study.parameters=10"], "model.parameters: given 10, and the recurrent layers of one unit need"),
        (["trainer.max_steps=0"], "trainer.max_steps: given 0, allowed: a number of updates from 1"),
        (["trainer.max_epochs=0"], "trainer.max_epochs: given 0, allowed: a number of epochs from 1"),
        (["+trainer.max_time=00:00:00:00"], 'trainer.max_time: given "00:00:00:00", allowed: a time above 0'),
    ],
)
def test_what_cannot_be_used_or_trained_ends_the_command(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*SMALL, f"root={tmp_path}/runs", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "runs").exists()


def test_a_budget_below_the_smallest_model_of_the_data_is_wrong_input(small: Compose) -> None:
    """Only the data tell the width of their inputs."""
    with pytest.raises(ConfigError, match=r"model\.parameters=13 is below the 15 that one unit needs"):
        run(small("model.parameters=13", "instruments=off"))
