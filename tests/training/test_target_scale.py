"""Regression on numbers of any size: learnt on a standardised scale, reported in the unit of the file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Compose
from torch.nn import functional as F
from tracking.records import rows

import gatescope
from gatescope.config import ConfigError
from gatescope.data.errors import DataError
from gatescope.run import RunResult, run
from gatescope.tracking.identity import run_id

Saved = tuple[Path, np.ndarray, np.ndarray]


def saved(path: Path, targets: Any) -> Saved:
    """Save 400 series of three equal steps x, with targets that are a function of x."""
    x = np.random.default_rng(0).normal(size=400).astype(np.float32)
    y = targets(x)
    np.savez(path, x=np.repeat(x[:, None], 3, 1), y=y)
    return path, x, y


def trained(config: Compose, path: Path, *options: str) -> RunResult:
    words = ("data=series_file", f"data.path={path}", "data.kind=regression", "optimizer.lr=0.01")
    return run(config(*words, *FAST, "trainer.max_epochs=10", "instruments=off", *options))


def predictions(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets and predictions of predictions.csv."""
    with (directory / "predictions.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    target, prediction = ([float(row[name]) for row in table] for name in ("target", "prediction"))
    return np.array(target), np.array(prediction)


def test_a_line_is_learnt_in_its_own_unit(config: Compose, tmp_path: Path) -> None:
    path, _, y = saved(tmp_path / "line.npz", lambda x: 20 + 5 * x)
    result = trained(config, path)
    target, prediction = predictions(result.directory)
    assert result.summary["test/mse"] < 0.2 * target.var()
    assert np.isin(target.astype(np.float32), y).all()
    assert result.summary["test/mse"] == pytest.approx(np.mean((prediction - target) ** 2), rel=1e-4)
    assert result.summary["test/loss"] == pytest.approx(result.summary["test/mse"], rel=1e-4)
    without = trained(config, path, "data.target_scale=none").summary["test/mse"]
    assert without > 2 * target.var()  # what a run did before there was a scale


def test_the_first_predictions_are_near_the_mean_of_train(config: Compose, tmp_path: Path) -> None:
    path, _, _ = saved(tmp_path / "line.npz", lambda x: 2e7 + 1e6 * x)
    result = trained(config, path, "optimizer.lr=1e-20")
    assert result.data.splits is not None
    train = result.data.splits.train.targets
    assert isinstance(train, torch.Tensor)
    _, prediction = predictions(result.directory)
    assert np.abs(prediction - train.mean().item()).max() < train.std().item()


def test_what_is_minimised_is_the_error_of_standardised_targets(config: Compose, tmp_path: Path) -> None:
    for name, function in (("standard", lambda x: 20 + 5 * x), ("log", lambda x: np.exp(5 + 2 * x))):
        path, _, _ = saved(tmp_path / f"{name}.npz", function)
        result = trained(config, path, f"data.target_scale={name}", "trainer.max_epochs=1")
        module, splits = result.module, result.data.splits
        assert module is not None
        assert splits is not None
        batch = result.data.batch("train", range(20))
        values = module(batch)
        learnt = torch.as_tensor(splits.train.targets).double()
        learnt, given, answered = (
            (part.log() if name == "log" else part) for part in (learnt, batch.targets, values[:, 0])
        )
        mean, deviation = learnt.mean(), learnt.std(correction=0)
        expected = F.mse_loss((answered - mean) / deviation, (given - mean) / deviation, reduction="none")
        found = module.objective.training_loss(values, batch.targets)
        assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-5)


def test_prices_are_learnt_by_their_logarithm(config: Compose, tmp_path: Path) -> None:
    path, _, _ = saved(tmp_path / "prices.npz", lambda x: np.exp(10 + 2 * x))
    result = trained(config, path, "data.target_scale=log")
    target, prediction = predictions(result.directory)
    assert (prediction > 0).all()
    assert np.mean(np.abs(np.log(prediction / target))) < 0.5  # the deviation is 2


def test_a_loaded_model_answers_in_the_unit_of_the_file(config: Compose, tmp_path: Path) -> None:
    path, _, _ = saved(tmp_path / "line.npz", lambda x: 20 + 5 * x)
    result = trained(config, path)
    path.unlink()
    answers = gatescope.load(result.directory).answers(result.data.batch("test", range(40)))
    _, prediction = predictions(result.directory)
    assert [answer.value for answer in answers] == pytest.approx(prediction.tolist(), rel=1e-5)
    state = torch.load(result.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert result.data.splits is not None
    mean = torch.as_tensor(result.data.splits.train.targets).mean()
    assert [v.item() for k, v in state.items() if k.endswith("mean")] == [pytest.approx(mean.item())]


def test_a_file_of_texts_with_numbers(config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    draw = np.random.default_rng(0).integers(2, size=300)
    lines = [f"a {'villa' if villa else 'hut'},{900_000 if villa else 100_000}" for villa in draw]
    path.write_text("\n".join(["text,label", *lines]))
    words = ("data=text_file", f"data.path={path}", "data.kind=regression", "optimizer.lr=0.02")
    result = run(config(*words, *FAST, "trainer.max_epochs=10", "instruments=off"))
    first, second = gatescope.load(result.directory).predict(["a villa", "a hut"])
    assert first.value == pytest.approx(900_000, rel=0.2)
    assert second.value == pytest.approx(100_000, rel=0.5)


def test_a_logarithm_needs_positive_targets(config: Compose, tmp_path: Path) -> None:
    path, _, _ = saved(tmp_path / "line.npz", lambda x: 5 * x)
    with pytest.raises(
        DataError, match=r"data.target_scale: given log, and the train split has the target -"
    ):
        trained(config, path, "data.target_scale=log")
    with pytest.raises(ConfigError, match=r"data.target_scale: given \"logs\", allowed: .*log"):
        trained(config, path, "data.target_scale=logs")


def test_equal_targets_are_no_division_by_zero(config: Compose, tmp_path: Path) -> None:
    path, _, _ = saved(tmp_path / "flat.npz", lambda x: 7 + 0 * x)
    result = trained(config, path, "trainer.max_epochs=1")
    assert rows(result.directory)[-1]["test/mse"] < 5


def test_only_a_regression_on_a_scale_has_a_new_id(config: Compose) -> None:
    regression = ("data=series_file", "data.path=x.npz", "data.kind=regression")
    assert run_id(config(*regression, "data.target_scale=none")).endswith("-e916b6ee")
    assert run_id(config(*regression)) != run_id(config(*regression, "data.target_scale=none"))
    classes = ("data=series_file", "data.path=x.npz")
    assert run_id(config(*classes)) == run_id(config(*classes, "data.target_scale=none"))
