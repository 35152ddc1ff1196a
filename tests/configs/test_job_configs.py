"""`JobConfigs` returns what Hydra composes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.composition import JobConfigs, compose, make_loader
from gatescope.config import ConfigError, resolved
from gatescope.tracking.identity import run_id

LOADER = make_loader(Path(__file__).parents[2] / "conf")
SHARED = JobConfigs(LOADER)
WORDS = (
    "seed=3",
    "seed=4",
    "model=lstm",
    "attention=dot",
    "model.layers=2",
    "model.hidden_size=8",
    "model.hidden_size=9",
    "study.parameters=5000",
    "model.parameters=${study.parameters}",
    "trainer.max_epochs=7",
    "scheduler=cosine",
    "scheduler.eta_min=0.001",
    "optimizer.lr=1e-3",
    "optimizer.betas=[0.8,0.9]",
    "trainer.threads=null",
    "+trainer.limit_train_batches=3",
    "~early_stopping.patience",
    "early_stopping.patience=2",
    "force=true",
    "study.name=other",
    "root=/tmp/elsewhere",
    "data.workers=2",
    "hydra.job.chdir=true",
    "launcher=basic",
    "study.question='a, b: c'",
    "no.such.key=1",
    "model=no_such_model",
    "seed=[",
)


def made(make: Callable[[], Any]) -> Any:
    """Return the result, or the problems of a ConfigError."""
    try:
        return make()
    except ConfigError as error:
        return error.problems


@pytest.mark.slow
@given(words=st.lists(st.sampled_from(WORDS), max_size=5))
@settings(deadline=None, max_examples=25)
def test_configs_are_those_that_hydra_composes(words: list[str]) -> None:
    expected, found = made(lambda: compose(LOADER, words)), made(lambda: SHARED.resolved(words))
    if isinstance(expected, list):
        assert found == expected
    else:
        assert found == resolved(expected)
        assert run_id(found) == run_id(expected)


def test_jobs_that_differ_in_values_share_one_composition() -> None:
    composed: list[list[str]] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(LOADER, name)

        def load_configuration(self, config_name: str, overrides: list[str], **more: object) -> object:
            composed.append(overrides)
            return LOADER.load_configuration(config_name, overrides, **more)

    jobs = JobConfigs(Counting())  # type: ignore[arg-type]
    for model in ("gru", "lstm"):
        for seed in range(20):
            cfg = jobs.resolved([f"model={model}", f"seed={seed}", "optimizer.lr=0.1"])
            assert (cfg["seed"], cfg["model"]["name"]) == (seed, model)
    assert [words[0] for words in composed] == ["model=gru", "model=lstm"]
