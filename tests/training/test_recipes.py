"""Recipes: what they set, who overrides them, and the length of training in updates."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import FAST, Compose, first_few
from hypothesis import given
from hypothesis import strategies as st

from gatescope.composition import compose, make_loader
from gatescope.config import ConfigError, check
from gatescope.run import run
from gatescope.tracking.identity import run_id
from gatescope.training.length import epochs_of_length

LOADER = make_loader()
KINDS = {
    "text": ["ag_news", "bbc_news", "imdb", "sst2", "text_file", "tweets"],
    "tagging": ["conll_file"],
    "pairs": ["dates", "g2p", "pairs_file"],
    "audio": ["audio_folder", "speech_commands"],
    "speech": ["audio_manifest", "spoken_numbers"],
    "music": ["chorales", "polyphonic_file"],
    "language": ["characters"],
    "none": ["adding", "copy", "delayed_recall", "parity", "custom", "moving_digits"],
}


@pytest.mark.parametrize("kind", first_few(KINDS, 3))
def test_data_select_their_recipe(kind: str) -> None:
    expected = compose(LOADER, [f"recipe={kind}", "data=adding"]).recipe
    for name in KINDS[kind]:
        cfg = compose(LOADER, [f"data={name}"])
        assert cfg.recipe == expected, name
        found = (cfg.optimizer.lr, cfg.model.dropout, cfg.model.bidirectional, cfg.model.embedding_std)
        recipe = cfg.recipe
        assert found == (recipe.lr, recipe.dropout, recipe.bidirectional, recipe.embedding_std), name


def test_what_is_given_counts_more_than_the_recipe() -> None:
    cfg = compose(
        LOADER,
        ["data=tweets", "attention=dot", "scheduler=none", "optimizer.lr=0.5", "model.dropout=0.25",
         "model.bidirectional=false", "trainer.max_epochs=2"],
    )  # fmt: skip
    assert cfg.attention._target_.endswith(".Dot")
    assert not cfg.scheduler
    assert (cfg.optimizer.lr, cfg.model.dropout, cfg.model.bidirectional) == (0.5, 0.25, False)
    assert cfg.trainer.max_epochs == 2
    assert compose(LOADER, ["data=tweets", "optimizer=sgd"]).optimizer.lr == 0.1
    assert "dropout" not in compose(LOADER, ["data=tweets", "model=tfidf_logistic"]).model


def test_an_experiment_with_its_own_settings_has_no_recipe() -> None:
    cfg = compose(LOADER, ["experiment=seed_sentiment"])
    assert (cfg.optimizer.lr, cfg.model.dropout, cfg.model.bidirectional) == (0.001, 0.0, False)
    assert (cfg.trainer.max_epochs, cfg.attention._target_) == (10, "gatescope.models.attention.Pooling")


@given(st.integers(1, 100), st.integers(0, 5000), st.integers(1, 5000), st.integers(1, 500))
def test_the_length_is_whole_epochs_within_its_limits(
    epochs: int, least: int, more: int, updates: int
) -> None:
    length = {"epochs": epochs, "min_steps": least, "max_steps": least + more}
    found = epochs_of_length(length, updates)
    steps = found * updates
    assert found >= 1
    assert steps <= max(least + more, updates)
    if least + more >= math.ceil(least / updates) * updates:
        assert steps >= least
    if least <= epochs * updates <= least + more:
        assert found == epochs


def test_a_small_dataset_is_trained_for_the_least_number_of_updates(small: Compose) -> None:
    # 64 examples in batches of 16: 4 updates an epoch
    length = ("trainer.max_epochs=auto", "recipe.length={epochs:2,min_steps:17,max_steps:null}")
    assert run(small(*length)).summary["steps"] == 20
    assert run(small(*length, "trainer.max_steps=3")).summary["steps"] == 3
    assert run(small(*length, "recipe.length.max_steps=7")).summary["steps"] == 4
    assert run(small(*length, "+trainer.accumulate_grad_batches=2")).summary["steps"] == 18


def test_patience_counts_from_the_least_number_of_updates(small: Compose) -> None:
    stops = (
        "optimizer.lr=1e-9",
        "early_stopping.patience=1",
        "early_stopping.min_delta=1",
        "trainer.max_epochs=9",
    )
    assert run(small(*stops)).summary["steps"] == 8
    assert run(small(*stops, "early_stopping.min_steps=20")).summary["steps"] == 24


@pytest.mark.slow
def test_the_recipe_is_part_of_an_id_only_where_it_is_used(small: Compose) -> None:
    plain = run_id(small())
    assert run_id(small("recipe.length.epochs=9", "recipe.lr=0.001")) == plain
    assert run_id(small("recipe.lr=0.5")) == run_id(small("optimizer.lr=0.5")) != plain
    auto = "trainer.max_epochs=auto"
    assert run_id(small(auto)) != run_id(small(auto, "recipe.length.epochs=9"))
    assert run_id(small(auto, "trainer.max_steps=5")) == run_id(
        small(auto, "trainer.max_steps=5", "recipe.length.epochs=9")
    )


def test_the_scale_of_new_embeddings(config: Compose) -> None:
    weights = []
    for std in (1.0, 0.1):
        data = ("data=parity", "data.lag=5", "data.train=64", "data.validation=16", "data.test=16")
        own = ("optimizer.lr=1e-9", f"model.embedding_std={std}", "trainer.max_steps=1")
        module = run(config(*data, *FAST, *own)).module
        assert module is not None
        assert module.model.embedding is not None
        weights.append(module.model.embedding.weight.detach())
    torch.testing.assert_close(weights[1], weights[0] * 0.1, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("recipe.length.epochs=0", "recipe.length.epochs: given 0"),
        ("recipe.lr=-1", "recipe.lr: given -1"),
        ("trainer.max_epochs=often", 'trainer.max_epochs: given "often", allowed: a number of epochs'),
        ("model.embedding_std=0", "model.embedding_std: given 0"),
        ("early_stopping.min_steps=-1", "early_stopping.min_steps: given -1"),
    ],
)
def test_wrong_values_are_named(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(compose(LOADER, ["data=adding", word]))
