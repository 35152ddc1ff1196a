"""A run's name changes with what defines its result, and with nothing else."""

from __future__ import annotations

import pytest
from conftest import Compose

from gatescope.tracking.identity import run_dir, run_id, tags


@pytest.mark.parametrize(
    "override",
    [
        "tracking=off",
        "instruments=full",
        "instruments.every_n_steps=7",
        "trainer.threads=1",
        "trainer.enable_progress_bar=true",
        "trainer.log_every_n_steps=3",
        "data.workers=2",
        "force=true",
        "kernel=torch",
        "study.name=other",
    ],
)
def test_not_part_of_the_identity(config: Compose, override: str) -> None:
    assert run_id(config(override)) == run_id(config())


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model=lstm",
        "attention=dot",
        "data.seed=1",
        "optimizer.lr=0.002",
        "trainer.max_epochs=2",
        "trainer.gradient_clip_val=null",
        "early_stopping.patience=2",
        "model.layers=2",
    ],
)
def test_part_of_the_identity(config: Compose, override: str) -> None:
    assert run_id(config(override)) != run_id(config())


def test_the_name_reads(config: Compose) -> None:
    cfg = config("model=lstm", "attention=additive", "seed=3")
    assert run_id(cfg).startswith("lstm-additive-tweets-s3-")
    assert tags(cfg) == {
        "cell": "lstm",
        "attention": "additive",
        "data": "tweets",
        "seed": 3,
        "variant": "lstm-additive",
    }
    assert run_dir(cfg).parent.name == "default"


@pytest.mark.parametrize(
    "name", ["additive", "dot", "general", "scaled_dot", "uniform", "frozen_random", "none"]
)
def test_an_attention_is_named_as_its_file_is(config: Compose, name: str) -> None:
    assert tags(config(f"attention={name}"))["variant"] == f"gru-{name}"
