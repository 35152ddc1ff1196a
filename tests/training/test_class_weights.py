"""Class weights and label smoothing: in what is minimised, and in nothing that is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compose
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F
from tracking.records import rows
from training.test_monitor import rare

from gatescope.config import ConfigError
from gatescope.run import build_module, load_data, run
from gatescope.sequences import IGNORE, TaskSpec
from gatescope.tracking.identity import run_id
from gatescope.training.class_weights import class_weights, loss_options
from gatescope.training.objective import objective_for

TARGETS = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)


def spec(classes: int) -> TaskSpec:
    return TaskSpec("classification", "features", 1, 1 if classes == 2 else classes, "accuracy", "max")


def test_balanced_weights_find_the_rare_class(config: Compose, tmp_path: Path) -> None:
    short = ("trainer.max_epochs=2", "monitor=loss")
    plain = rare(config, tmp_path, *short)
    weighted = rare(config, tmp_path, *short, "loss.class_weights=balanced")

    def recall(result_directory: Path) -> float:
        lines = (result_directory / "predictions.csv").read_text().splitlines()
        columns = lines[0].split(",")
        target, prediction = columns.index("target"), columns.index("prediction")
        positive = [cells for line in lines[1:] if (cells := line.split(","))[target] == "1"]
        return sum(cells[prediction] == "1" for cells in positive) / len(positive)

    assert recall(plain.directory) < 0.3
    assert recall(weighted.directory) > 0.6


@pytest.mark.parametrize(
    "options",
    [["loss.class_weights=balanced"], pytest.param(["loss.label_smoothing=0.2"], marks=pytest.mark.slow)],
)
def test_reported_losses_are_the_plain_cross_entropy(
    config: Compose, tmp_path: Path, options: list[str]
) -> None:
    """At a learning rate of almost 0 the weights stay, and with them every loss that is reported."""
    still = ("optimizer.lr=1e-20", "trainer.max_epochs=1")
    plain, other = rare(config, tmp_path, *still), rare(config, tmp_path, *still, *options)
    for name in ("train/loss", "validation/loss", "test/loss"):
        found = [[row[name] for row in rows(one.directory) if name in row] for one in (plain, other)]
        assert found[1] == pytest.approx(found[0], rel=1e-5)
        assert found[0]
    assert other.module is not None
    batch = other.data.batch("train", range(50))
    values, objective = other.module(batch), other.module.objective
    minimised = objective.training_loss(values, batch.targets).mean().item()
    assert minimised != pytest.approx(objective.loss(values, batch.targets).mean().item(), rel=1e-3)


def test_weights_are_those_of_scikit_learn_and_have_a_mean_of_one() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS.numpy())
    assert class_weights("balanced", spec(3), TARGETS).tolist() == pytest.approx(expected.tolist())
    given = class_weights([1.0, 2.0, 4.0], spec(3), TARGETS)
    assert (given / given[0]).tolist() == pytest.approx([1, 2, 4])
    for weights in (given, class_weights("balanced", spec(4), TARGETS)):
        assert weights[TARGETS].mean().item() == pytest.approx(1)


def test_weights_of_a_symbol_at_every_step(config: Compose) -> None:
    data = load_data(config("data=copy", "data.lag=5", "data.train=32", "data.validation=8", "data.test=8"))
    assert data.splits is not None
    options = loss_options({"class_weights": "balanced"}, data.task, data.splits.train.targets)
    weights = options["class_weights"]
    scored = torch.cat([targets[targets != IGNORE] for targets in data.splits.train.targets])
    assert weights[scored].mean().item() == pytest.approx(1)
    by_class = compute_class_weight("balanced", classes=np.unique(scored), y=scored.numpy())
    assert weights[torch.from_numpy(np.unique(scored))].tolist() == pytest.approx(by_class.tolist())


@pytest.mark.parametrize("classes", [2, 4])
def test_the_minimised_loss_is_that_of_torch(classes: int) -> None:
    """The two-class loss of one output is the softmax loss of logits (0, value)."""
    torch.manual_seed(0)
    task, targets = spec(classes), torch.arange(8) % classes
    values = torch.randn(8, task.output_size)
    logits = values if classes > 2 else torch.cat([torch.zeros(8, 1), values], 1)
    smoothed = objective_for(task, label_smoothing=0.2)
    expected = F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.2)
    assert smoothed.training_loss(values, targets).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    weights = torch.arange(classes) + 1.0
    weighted = objective_for(task, class_weights=weights)
    expected = F.cross_entropy(logits, targets, reduction="none", weight=weights)
    assert weighted.training_loss(values, targets).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data=tweets", "loss.class_weights=[1,2]"], r"loss.class_weights: given 2 numbers, allowed: 3, in"),
        (["data=tweets", "loss.class_weights=[0,0,0]"], r"given 0 for every class of train"),
        (
            ["data=adding", "loss.class_weights=balanced"],
            r"loss.class_weights: .* these are a regression task",
        ),
        (
            ["data=adding", "loss.label_smoothing=0.1"],
            r"loss.label_smoothing: .* a regression task; remove it",
        ),
        (
            ["loss.class_weights=balance"],
            r'loss.class_weights: given "balance", allowed: .*did you mean balanced',
        ),
        (["loss.label_smoothing=1"], r"loss.label_smoothing: given 1, allowed"),
    ],
)
def test_what_does_not_fit_is_one_message(config: Compose, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(config("tracking=off", *options))
    assert len(caught.value.problems) == 1


def test_the_defaults_change_neither_id_nor_loss(config: Compose) -> None:
    cfg = config("data=digits")
    plain = {name: node for name, node in cfg.items() if name != "loss"}
    assert run_id(cfg) == run_id(plain)
    assert run_id(config("data=digits", "loss.label_smoothing=0.1")) != run_id(plain)
    data = load_data(cfg)
    objective = build_module(cfg, data).objective
    losses = torch.rand(3)
    assert objective.minimised(losses, torch.rand(3, 10), torch.zeros(3).long()) is losses
