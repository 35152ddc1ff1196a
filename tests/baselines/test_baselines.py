"""Baselines predict what a head predicts, and their scores have the names of training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import SMALL, Compose
from sklearn.metrics import f1_score, log_loss, mean_squared_error
from torch import Tensor
from torch.nn import functional as F

from gatescope.baselines import base
from gatescope.baselines.base import Baseline, batches, evaluate
from gatescope.baselines.majority import Majority
from gatescope.baselines.series import Summary, resample, statistics
from gatescope.baselines.series_logistic import SeriesLogistic
from gatescope.baselines.series_ridge import SeriesRidge
from gatescope.baselines.tfidf_logistic import TfidfLogistic
from gatescope.data.examples import Examples, Splits
from gatescope.run import run
from gatescope.sequences import IGNORE, TaskSpec

RNG = np.random.default_rng(0)


def ragged(draw: Callable[[int], Tensor], lengths: list[int]) -> list[Tensor]:
    return [draw(n) for n in lengths]


def same(examples: Examples, task: TaskSpec) -> Splits:
    return Splits(examples, examples, examples, task)


def classes(labels: list[int], outputs: int) -> Splits:
    """Series of one feature whose level is their label."""
    lengths = RNG.integers(1, 9, len(labels)).tolist()
    inputs = [torch.full((n, 1), float(c)) for n, c in zip(lengths, labels, strict=True)]
    task = TaskSpec("classification", "features", 1, outputs, "accuracy", "max")
    return same(Examples(inputs, torch.tensor(labels)), task)


@pytest.fixture
def regression() -> Splits:
    inputs = [torch.from_numpy(RNG.normal(size=(n, 2))).float() for n in RNG.integers(3, 12, 80)]
    targets = torch.stack([3 * x[-1, 0] - x[:, 1].mean() + 1 for x in inputs])
    task = TaskSpec("regression", "features", 2, 1, "mse", "min", tolerance=0.04)
    return same(Examples(inputs, targets), task)


def test_majority_of_classes_has_the_frequencies_of_train() -> None:
    labels = [0] * 2 + [1] * 5 + [2] * 3
    scores, _ = evaluate(Majority(), classes(labels, 3))
    assert scores["test/accuracy"] == pytest.approx(0.5)
    assert scores["test/macro_f1"] == pytest.approx(f1_score(labels, [1] * 10, average="macro"))
    shares = np.tile((np.bincount(labels) + 0.5) / 11.5, (10, 1))
    assert scores["test/loss"] == pytest.approx(log_loss(labels, shares), rel=1e-5)


def test_majority_of_two_classes_is_one_logit() -> None:
    scores, _ = evaluate(Majority(), classes([0, 1, 1, 1], 1))
    assert scores["test/accuracy"] == pytest.approx(0.75)
    shares = np.tile(np.array([1.5, 3.5]) / 5, (4, 1))
    assert scores["test/loss"] == pytest.approx(log_loss([0, 1, 1, 1], shares), rel=1e-5)


def test_majority_of_real_values_is_their_mean(regression: Splits) -> None:
    scores, _ = evaluate(Majority(), regression)
    targets = regression.train.targets.numpy()
    assert scores["test/mse"] == pytest.approx(targets.var(), rel=1e-5)
    assert {"validation/mse", "validation/solved", "test/solved", "test/loss"} <= scores.keys()


def test_majority_counts_scored_steps_only() -> None:
    targets = [torch.tensor([IGNORE, 2, 2]), torch.tensor([1]), torch.tensor([2, IGNORE])]
    inputs = ragged(lambda n: torch.zeros(n, dtype=torch.int64), [3, 1, 2])
    scores, _ = evaluate(
        Majority(), same(Examples(inputs, targets), TaskSpec("next_step", "tokens", 4, 3, "accuracy", "max"))
    )
    assert scores["test/accuracy"] == pytest.approx(3 / 4)


def test_tfidf_reads_texts_without_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [[2, 3], [2, 2, 4, 5], [3], [4, 5, 5]] * 5
    splits = same(
        Examples([torch.tensor(t) for t in texts], torch.tensor([0, 1, 0, 1] * 5)),
        TaskSpec("classification", "tokens", 6, 1, "accuracy", "max", padding_index=0),
    )
    whole = TfidfLogistic(1)
    assert evaluate(whole, splits)[0]["test/accuracy"] == 1
    monkeypatch.setattr(base, "CHUNK", 3)
    chunked = torch.cat([whole.predict(batch) for batch in batches(splits.test, splits.task)])
    expected = whole.pipeline.decision_function([torch.tensor(t) for t in texts])
    np.testing.assert_allclose(chunked[:, 0], expected, atol=1e-5)
    assert whole.parameters == 4 + 1


def test_statistics_are_those_of_numpy() -> None:
    x = RNG.normal(size=(6, 3))
    expected = [x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1], np.abs(np.diff(x, axis=0)).mean(0)]
    np.testing.assert_allclose(statistics(torch.from_numpy(x)), np.concatenate(expected), rtol=1e-9)
    assert torch.isfinite(statistics(torch.ones(1, 2))).all()


@pytest.mark.parametrize("steps", [1, 2, 9, 100])
def test_resampling_is_numpys_interpolation(steps: int) -> None:
    x = RNG.normal(size=(steps, 2))
    at = np.linspace(0, steps - 1, 7)
    expected = np.concatenate([np.interp(at, np.arange(steps), x[:, i]) for i in range(2)])
    np.testing.assert_allclose(resample(torch.from_numpy(x), 7), expected, atol=1e-9)


@pytest.mark.parametrize("outputs", [1, 3])
def test_series_logistic_on_separable_levels(outputs: int) -> None:
    labels = [0, 1] * 20 if outputs == 1 else [0, 1, 2] * 20
    baseline = SeriesLogistic(points=4)
    scores, _ = evaluate(baseline, classes(labels, outputs))
    assert scores["test/accuracy"] == 1
    assert scores["test/loss"] < 0.1
    assert baseline.parameters == outputs * (7 + 4 + 1)


def test_a_class_that_train_lacks_has_a_finite_loss() -> None:
    splits = classes([0, 1, 2] * 10, 3)
    splits.train = classes([0, 2] * 10, 3).train
    scores, _ = evaluate(SeriesLogistic(points=0), splits)
    assert scores["test/accuracy"] == pytest.approx(2 / 3)
    assert 3 < scores["test/loss"] < 6


def polyphonic(songs: int = 40) -> Splits:
    """Key 0 alternates, key 1 repeats key 0, key 2 never sounds, key 3 is random."""
    inputs, targets = [], []
    for n in RNG.integers(4, 15, songs):
        on = (np.arange(n + 1) + RNG.integers(2)) % 2
        roll = np.stack([on, np.roll(on, 1), np.zeros(n + 1), RNG.integers(0, 2, n + 1)], axis=1)
        inputs.append(torch.from_numpy(roll[:-1]).float())
        targets.append(torch.from_numpy(roll[1:]).float())
    return same(Examples(inputs, targets), TaskSpec("next_step", "features", 4, 4, "nll", "min"))


@pytest.mark.parametrize("baseline", [SeriesLogistic(), Majority()])
def test_several_labels_per_step(baseline: Baseline) -> None:
    splits = polyphonic()
    baseline.fit(splits.train, splits.task)
    (batch,) = batches(splits.test, splits.task)
    values = baseline.predict(batch)
    assert values.shape == batch.targets.shape
    scored = batch.targets[..., 0] != IGNORE
    loss = F.binary_cross_entropy_with_logits(values[scored], batch.targets[scored], reduction="none").mean(0)
    known = isinstance(baseline, SeriesLogistic)
    assert loss[0] < 0.05 if known else loss[0] == pytest.approx(math.log(2), abs=0.02)
    assert loss[2] < 0.01
    assert loss[3] == pytest.approx(math.log(2), abs=0.03)


def test_ridge_fits_a_linear_target(regression: Splits) -> None:
    baseline = SeriesRidge(points=3)
    scores, _ = evaluate(baseline, regression)
    assert scores["test/mse"] < 1e-3 * regression.train.targets.var()
    assert scores["test/mse"] == scores["test/loss"]
    (batch,) = batches(regression.test, regression.task)
    expected = mean_squared_error(batch.targets, baseline.predict(batch)[:, 0])
    assert scores["test/mse"] == pytest.approx(expected, rel=1e-5)
    assert baseline.parameters == 2 * (7 + 3) + 1


TOKENS = same(
    Examples([torch.tensor([1, 2])] * 4, torch.tensor([0, 1] * 2)),
    TaskSpec("classification", "tokens", 4, 1, "accuracy", "max"),
)
SYMBOLS = same(
    Examples([torch.tensor([1, 2])] * 4, [torch.tensor([1, 2])] * 4),
    TaskSpec("next_step", "tokens", 4, 3, "accuracy", "max"),
)
PAIRS = same(SYMBOLS.train, TaskSpec("transduction", "tokens", 4, 3, "accuracy", "max"))


@pytest.mark.parametrize(
    ("baseline", "splits", "message"),
    [
        (TfidfLogistic(), classes([0, 1], 1), "needs tokens: choose texts, or model=series_logistic"),
        (TfidfLogistic(), SYMBOLS, "one class per sequence, and these data are a next_step"),
        (SeriesLogistic(), TOKENS, "needs features: choose series, or model=tfidf_logistic"),
        (SeriesLogistic(), SYMBOLS, "one symbol: choose model=majority"),
        (SeriesLogistic(), PAIRS, "these data are a transduction"),
        (SeriesRidge(), classes([0, 1], 1), "are a classification: choose model=series_logistic"),
        (Majority(), PAIRS, "cannot be used for a transduction"),
    ],
)
def test_unsuitable_data_are_refused(baseline: Baseline, splits: Splits, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        baseline.fit(splits.train, splits.task)


def test_a_summary_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"model\.baseline\.points: at least 1"):
        Summary(False, 0)


@pytest.mark.parametrize("model", ["majority", "series_ridge"])
def test_a_baseline_is_a_run_of_the_study(config: Compose, model: str) -> None:
    result = run(config(*SMALL, f"model={model}", "tracking=off", "trainer.threads=1"))
    record = json.loads((result.directory / "run.json").read_text())
    assert (record["status"], record["tags"]["variant"]) == ("finished", model)
    assert {"test/mse", "test/solved", "test/loss"} <= record["summary"].keys()
    assert math.isfinite(result.monitored)
