"""The model of a finished run: the same predictions as in its test, and one message per failure."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from trained_runs import SERIES, TEXTS, answer_without_heavy_imports, trained_run

import gatescope
from gatescope.analysis.runs import NoRuns
from gatescope.data.errors import DataError
from gatescope.data.shipped import tweets
from gatescope.run import build_module, load_data
from gatescope.trained import LoadError, Trained


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("runs"), *TEXTS)


@pytest.fixture(scope="module")
def trained(directory: Path) -> Trained:
    return gatescope.load(directory)


@pytest.fixture
def copied(directory: Path, tmp_path: Path) -> Path:
    """Return the directory of a copy of the run."""
    copy = tmp_path / "study" / directory.name
    shutil.copytree(directory, copy)
    return copy


def test_predictions_equal_those_of_the_test(trained: Trained) -> None:
    summary = json.loads((trained.directory / "run.json").read_text())["summary"]
    assert trained.data.splits is not None
    indices = range(len(trained.data.splits.test))
    batch = trained.data.batch("test", list(indices))
    answers = trained.answers(batch)
    right = [trained.labels.index(str(a.label)) == t for a, t in zip(answers, batch.targets, strict=True)]
    assert sum(right) / len(right) == pytest.approx(summary["test/accuracy"], abs=1e-6)


def test_texts_are_preprocessed_as_in_training(trained: Trained) -> None:
    # Links and handles are masked, letters lowercased, punctuation split; unknown words are <unk>.
    batch = trained.encode(["@someone The day, http://t.co/x qqzzx", "the"])
    assert trained.data.tokens(batch) == [["<user>", "the", "day", ",", "<url>", "<unk>"], ["the"]]
    alone = trained.predict(["the"])[0]
    together = trained.predict(["@someone The day, http://t.co/x qqzzx", "the"])[1]
    assert alone.probabilities == pytest.approx(together.probabilities, abs=1e-6), "padding is not read"
    assert set(alone.probabilities) == {"negative", "neutral", "positive"}
    assert sum(alone.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    assert alone.label == max(alone.probabilities, key=lambda name: alone.probabilities[name])


def test_a_text_is_read_without_the_data(trained: Trained, copied: Path) -> None:
    text = "@someone The day, http://t.co/x qqzzx"
    (answer,) = trained.predict(text)
    assert answer_without_heavy_imports(copied, text) == answer.label


def test_by_id_under_the_root(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS_DIR", str(directory.parents[1]))
    assert gatescope.load(directory.name).directory == directory


def test_an_unknown_run_names_the_nearest(directory: Path) -> None:
    with pytest.raises(NoRuns, match=f"nearest: {directory.name}"):
        gatescope.load(directory.name[:-2], directory.parents[1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token"),
        ("  \n", "holds no token"),
        ("qqzzx xxqqz", "none of the tokens of 'qqzzx xxqqz' occurs in training"),
    ],
)
def test_a_text_without_known_tokens(trained: Trained, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        trained.encode([text])


def test_a_text_longer_than_trained_on(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        batch = trained.encode(["the " * (trained.longest + 3)])
    assert batch.lengths.tolist() == [trained.longest]
    (record,) = caplog.records
    assert record.getMessage() == f"cut to {trained.longest} of {trained.longest + 3} tokens"


def test_indices_end_where_the_split_ends(trained: Trained) -> None:
    assert trained.data.splits is not None
    last = len(trained.data.splits.test) - 1
    assert trained.example(last).ids.tolist() == [last]
    with pytest.raises(DataError, match=f"examples 0 to {last}"):
        trained.example(last + 1)


def test_features_and_texts_are_not_interchangeable(trained: Trained) -> None:
    with pytest.raises(DataError, match="the model reads a text"):
        trained.predict([[[0.1, 0.2]]])
    with pytest.raises(DataError, match="at least one"):
        trained.predict([])


def test_a_truncated_checkpoint(copied: Path) -> None:
    path = copied / "checkpoints" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(LoadError, match=r"best\.ckpt is damaged or no checkpoint \(File is not a zip file\)"):
        gatescope.load(copied)


def test_a_checkpoint_of_another_version(copied: Path) -> None:
    path = copied / "checkpoints" / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["state_dict"]["model.head.weight"] = torch.zeros(9, 6)
    torch.save(saved, path)
    with pytest.raises(
        LoadError, match=r"does not fit this version \(size mismatch for head\.weight.*commit"
    ):
        gatescope.load(copied)


def test_a_config_of_another_version(copied: Path) -> None:
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("attention.Additive", "attention.Multiplicative"))
    with pytest.raises(LoadError, match="does not fit this version"):
        gatescope.load(copied)


@pytest.mark.slow
def test_data_that_have_changed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The data change, as with another version, without changing the config.
    clean = tweets.clean
    monkeypatch.setattr(tweets, "clean", lambda rows: clean(rows[:-2000]))
    with pytest.raises(
        LoadError, match=r"not those of its training \(.*test split: .*vocabulary: .*\): restore"
    ):
        gatescope.load(copied).example(0)


def test_a_checkpoint_without_data_identity(copied: Path) -> None:
    path = copied / "checkpoints" / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    del saved["data"]
    torch.save(saved, path)
    with pytest.raises(LoadError, match=r"by an older version, .* run it again"):
        gatescope.load(copied).example(0)


def test_a_checkpoint_of_a_version_that_saved_no_task(copied: Path, trained: Trained) -> None:
    path = copied / "checkpoints" / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    del saved["task"]
    torch.save(saved, path)
    texts = ["not bad", "the day"]
    assert gatescope.load(copied).predict(texts) == trained.predict(texts)


def test_a_single_string_is_one_text(trained: Trained) -> None:
    assert trained.predict("not bad") == trained.predict(["not bad"])


def test_a_bad_text_costs_no_other_its_answer(trained: Trained) -> None:
    good = "not bad at all"
    bad: dict[Any, str] = {
        "": "no token",
        " \n": "no token",
        None: "no text",
        float("nan"): "no text",
        "qqzzx xxqqz": "only unknown tokens",
        "the " * 500: f"cut to {trained.longest} of 500 tokens",
    }
    answers = trained.predict([good, *bad, good])
    assert [a.warning for a in answers] == ["", *bad.values(), ""]
    assert all(sum(a.probabilities.values()) == pytest.approx(1, abs=1e-5) for a in answers)
    (alone,) = trained.predict(good)
    for answer in (answers[0], answers[-1]):
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    unread = [a.probabilities for a in answers[1:5]]
    assert all(p == pytest.approx(unread[0], abs=1e-6) for p in unread), "one unknown token each"


def test_answers_are_in_order_and_read_as_needed(trained: Trained) -> None:
    texts = [f"{'the ' * (n % 9)}day" for n in range(50)]
    alone = [trained.predict(text)[0] for text in texts]
    read = []

    def endless() -> Iterator[str]:
        while True:
            for text in texts:
                read.append(text)
                yield text

    some = list(islice(trained.predict_iter(endless(), batch_size=2), 50))
    for answer, expected in zip(some, alone, strict=True):
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert len(read) < 100, "bounded memory"


def test_devices(directory: Path) -> None:
    assert gatescope.load(directory, device="cpu").model.device.type == "cpu"
    with pytest.raises(LoadError, match=r"device=abacus cannot be used \(.*\); cpu always can"):
        gatescope.load(directory, device="abacus")


def test_no_checkpoint_and_no_network(copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(LoadError, match=r"\(finished\) has no checkpoint: train it again with force=true"):
        gatescope.load(copied)
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("\noptimizer:", "\n  baseline: {}\noptimizer:"))
    with pytest.raises(LoadError, match="a baseline without a network"):
        gatescope.load(copied)


def test_features_and_a_regression(tmp_path: Path) -> None:
    trained = gatescope.load(trained_run(tmp_path, *SERIES, "model.hidden_size=5"))
    batch = trained.example(3)
    (answer,) = trained.predict([batch.inputs[0]])
    assert answer.value == pytest.approx(trained.answers(batch)[0].value)
    assert answer.label is None
    with pytest.raises(DataError, match="2 features per step and not text"):
        trained.predict(["a text"])
    with pytest.raises(DataError, match=r"features of shape \(steps, 2\)"):
        trained.predict([torch.zeros(4, 3)])
    with pytest.raises(DataError, match="NaN or infinity"):
        trained.predict([torch.full((4, 2), torch.nan)])


def test_series_are_given_as_in_their_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (rng.normal(size=(60, 6, 2)) + y[:, None, None]) * [1e3, 1e-3] + [5e4, 1]
    np.savez(tmp_path / "series.npz", x=x, y=y)
    options = ("data=series_file", f"data.path={tmp_path / 'series.npz'}", "model.hidden_size=5")
    directory = trained_run(tmp_path / "runs", *options)
    trained = gatescope.load(directory)
    data = trained.data
    assert data.splits is not None
    mean, deviation = np.array(trained.task.input_scale)
    test = data.splits.test
    for i in range(len(test)):
        values = test.inputs[i].numpy() * deviation + mean  # as in the file
        assert np.abs(x.astype(np.float32) - values).max((1, 2)).min() < 0.01
        (answer,) = trained.predict([values])
        (expected,) = trained.answers(trained.example(i))
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_a_transduction_generates_symbols(tmp_path: Path) -> None:
    sizes = ("data=dates", "data.train=64", "data.validation=16", "data.test=16", "model.hidden_size=6")
    trained = gatescope.load(trained_run(tmp_path, *sizes, "attention=dot", "trainer.max_epochs=1"))
    (answer,) = trained.predict(["3 May 1999"])
    assert set(answer.symbols) <= set(trained.task.target_vocabulary) - {"<end>"}


def test_a_task_with_a_prediction_at_every_step(tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", ["data=copy", "data.lag=3", "data.train=8", "model.hidden_size=4"])
    data = load_data(cfg)
    trained = Trained.with_data(tmp_path, cfg, build_module(cfg, data).model.eval(), data)
    with pytest.raises(DataError, match="prediction at every step"):
        trained.answers(trained.example(0))
