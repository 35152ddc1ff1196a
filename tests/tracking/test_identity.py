"""The id of a run depends on everything that defines its result, and on nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Compose

from gatescope.analysis.runs import RecordSource
from gatescope.run import run
from gatescope.tracking.identity import result_config, run_dir, run_id, tags


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
        "study.name=other",
        "study.select={over:[optimizer.lr],by:validation/accuracy}",
        "checkpoint.every_n_steps=7",
        "trainer=gpu",
        "trainer=ddp_cpu",
        "trainer.deterministic=warn",
        "+trainer.profiler=simple",
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
        "kernel=torch",
        "trainer.precision=bf16-mixed",
        "trainer.compile=true",
        "+trainer.min_epochs=1",
        "+trainer.fast_dev_run=true",
        "+trainer.anything_new=1",
        "study.parameters=5000",
    ],
)
def test_part_of_the_identity(config: Compose, override: str) -> None:
    assert run_id(config(override)) != run_id(config())


OLD_TEXTS = ("data.tokenizer=basic_english", "data.max_length=200")
"""What were the defaults of texts of one's own before `auto`."""


@pytest.mark.parametrize(
    ("overrides", "digest"),
    [  # the ids that these commands had before the keys of NEUTRAL existed
        ((), "09a1b420"),
        (("scheduler=cosine",), "9429a88b"),
        (("data=text_file", "data.path=reviews.csv", *OLD_TEXTS), "5644d629"),
        (("data=series_file", "data.path=x.npz"), "d0e2a4f6"),
    ],
)
def test_new_keys_leave_earlier_ids_as_they_were(
    config: Compose, overrides: tuple[str, ...], digest: str
) -> None:
    assert run_id(config(*overrides)).rpartition("-")[2] == digest


@pytest.mark.parametrize("override", ["optimizer.lr=0.1", "attention=dot", "trainer.max_epochs=9"])
def test_a_baseline_depends_on_model_data_and_seed_alone(config: Compose, override: str) -> None:
    base = "model=tfidf_logistic"
    assert run_id(config(base, override)) == run_id(config(base))
    assert run_id(config(base)).startswith("tfidf_logistic-tweets-s0-")
    for other in ("model.baseline.C=2.0", "data.seed=1", "seed=1"):
        assert run_id(config(base, other)) != run_id(config(base))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("data=g2p", "g2p"),
        ("data=mnist1d", "mnist1d"),
        ("data=gunpoint", "gunpoint"),
        ("data=text_file data.path=/a/reviews.2024.csv.gz", "reviews.2024"),
        ("data=text_file data.path=reviews.csv data.name=stars", "stars"),
        ("data=series_file data.path='my series/x.npz'", "x"),
        ("data=pairs_file data.path='my pairs.tsv'", "my_pairs"),
        ("data=polyphonic_file data.path=JSB_Chorales.mat", "JSB_Chorales"),
        ("data=audio_folder data.path=recordings/", "recordings"),
    ],
)
def test_data_have_the_name_of_their_config_file(config: Compose, words: str, name: str) -> None:
    cfg = config(*re.split(r" (?=data\.)", words))
    assert tags(cfg)["data"] == name
    assert f"-{name}-s0-" in run_id(cfg)


def test_the_name_of_data_does_not_change_the_identity(config: Compose) -> None:
    words = ("data=text_file", "data.path=reviews.csv")
    renamed = config(*words, "data.name=stars")
    assert result_config(renamed) == result_config(config(*words))


def test_run_ids_are_readable(config: Compose) -> None:
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
def test_attention_has_the_name_of_its_config_file(config: Compose, name: str) -> None:
    assert tags(config(f"attention={name}"))["variant"] == f"gru-{name}"


def test_a_run_has_a_link_with_a_readable_name(small: Compose, tmp_path: Path) -> None:
    first = run(small("tracking.name=mine")).directory
    link = tmp_path / "default" / "by_name" / "mine"
    assert link.resolve() == first.resolve()
    second = run(small("tracking.name=mine", "optimizer.lr=0.5")).directory
    other = link.with_name(f"mine {second.name.rpartition('-')[2]}")
    assert (link.resolve(), other.resolve()) == (first.resolve(), second.resolve())
    assert {run_id for run_id in RecordSource(tmp_path, "default").tables().runs.run_id} == {
        first.name,
        second.name,
    }
