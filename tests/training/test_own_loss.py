"""A loss and a metric of the user's own: what they are called with, and that the worked example runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Compose
from docs.pages import write_files
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F
from tracking.records import rows

import gatescope
from gatescope.config import ConfigError
from gatescope.data.encoding.targets import target_fields
from gatescope.run import run
from gatescope.sequences import IGNORE, TargetScale, TaskSpec
from gatescope.tracking import predictions
from gatescope.tracking.identity import run_id
from gatescope.training.objective import objective_for
from gatescope.training.own import metric_arguments, minimised_by, own_loss, snake_case

RECALL = (
    "data=delayed_recall", "data.lag=4", "data.symbols=3", "data.train=64", "data.validation=32",
    "data.test=32", "data.batch_size=16", *FAST, "instruments=off",
)  # fmt: skip
TWEETS = ("data=tweets", "data.limit=300", "model.embedding_size=8", *FAST, "instruments=off")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files of the page."""
    write_files("docs/extend/loss.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_worked_example(folder: Path, config: Compose) -> None:
    auroc = ("metric._target_=torchmetrics.classification.MulticlassAUROC", "+metric.num_classes=3")
    result = run(
        config(
            *TWEETS, "loss._target_=focal.FocalLoss", "+loss.gamma=1.5", *auroc, "monitor=multiclass_auroc"
        )
    )
    assert result.module is not None
    table = predictions.read(result.directory / "predictions.csv")
    names = predictions.classes(table)
    expected = roc_auc_score(
        table.target, table[[f"p({n})" for n in names]], multi_class="ovr", average="macro", labels=names
    )
    assert result.summary["test/multiclass_auroc"] == pytest.approx(expected, abs=1e-3)
    assert result.monitored == result.summary["best/validation/multiclass_auroc"]
    assert result.summary["test/loss"] == pytest.approx(table.loss.mean(), rel=1e-3)  # the plain one
    assert gatescope.load(result.directory).predict("so nice")[0].label in names

    batch = result.data.batch("train", range(8))
    values = result.module(batch)
    assert result.module.own_loss is not None
    p = torch.softmax(values, 1)[torch.arange(8), batch.targets]
    found = minimised_by(result.module.own_loss, result.module.objective, values, batch.targets)
    assert found.tolist() == pytest.approx((-((1 - p) ** 1.5) * p.log()).tolist(), rel=1e-4)


def test_the_loss_is_what_is_trained(config: Compose) -> None:
    """Cross-entropy as a loss of one's own trains as the task's own does, and MultiMarginLoss does not."""
    plain, same, other = (
        run(config(*RECALL, *([f"loss._target_=torch.nn.{name}"] if name else []))).directory
        for name in ("", "CrossEntropyLoss", "MultiMarginLoss")
    )
    losses = [[row["train/loss"] for row in rows(one) if "train/loss" in row] for one in (plain, same, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2][0] == pytest.approx(losses[0][0], rel=1e-4)
    assert losses[2][-1] != pytest.approx(losses[0][-1], rel=1e-4)
    assert len({plain.name, same.name, other.name}) == 3


@pytest.mark.parametrize(
    ("target", "labels", "is_warned"),
    [
        ("torch.nn.CrossEntropyLoss", 2, True),
        ("focal.FocalLoss", 2, True),
        ("torch.nn.BCEWithLogitsLoss", 2, False),
        ("torch.nn.SoftMarginLoss", 2, False),
        ("torch.nn.CrossEntropyLoss", 3, False),
    ],
)
def test_a_loss_of_k_logits_on_two_classes_is_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture, target: str, labels: int, is_warned: bool
) -> None:
    """Cross-entropy takes the logits (B,) of two classes as those of one example, and raises no error."""
    assert own_loss({"_target_": target}, spec("classification", ("a", "b", "c")[:labels])) is not None
    assert ("one logit (B,) for each example" in caplog.text) is is_warned


def spec(kind: str, names: tuple[str, ...] = (), **fields: Any) -> TaskSpec:
    return TaskSpec(inputs="features", input_size=1, **target_fields(kind, names), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("per_example", [True, False])
@pytest.mark.parametrize("task", ["two", "three", "labels", "number", "numbers", "tags"])
def test_arguments_and_results_of_each_task(task: str, per_example: bool) -> None:
    torch.manual_seed(0)
    scale = TargetScale(20.0, 5.0)
    specs = {
        "two": spec("classification", ("a", "b")),
        "three": spec("classification", ("a", "b", "c")),
        "labels": spec("multilabel", ("a", "b")),
        "number": spec("regression", target_scale=scale),
        "numbers": spec("regression", ("a", "b"), target_scale=TargetScale((1.0, 2.0), (3.0, 4.0))),
        "tags": spec("tagging", ("a", "b", "c")),
    }
    tags = torch.tensor([[0, 2, 1], [1, IGNORE, IGNORE], [2, 2, IGNORE], [0, IGNORE, IGNORE]])
    targets = {
        "two": torch.tensor([0, 1, 1, 0]),
        "three": torch.tensor([0, 1, 2, 0]),
        "labels": torch.tensor([[0.0, 1], [1, 1], [0, 0], [1, 0]]),
        "number": 20 + torch.randn(4),
        "numbers": torch.randn(4, 2),
        "tags": tags,
    }[task]
    objective = objective_for(specs[task])
    width = specs[task].output_size
    values = torch.randn(4, 3, width) if task == "tags" else torch.randn(4, width)
    reduction = "none" if per_example else "mean"
    torch_loss: Any = {
        "two": torch.nn.BCEWithLogitsLoss, "labels": torch.nn.BCEWithLogitsLoss, "number": torch.nn.MSELoss,
        "numbers": torch.nn.MSELoss,
    }.get(task, torch.nn.CrossEntropyLoss)(reduction=reduction)  # fmt: skip
    found = minimised_by(torch_loss, objective, values, targets)
    assert found.shape == (4,)
    expected = objective.training_loss(values, targets)
    if per_example:
        assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    elif task != "tags":
        assert found.tolist() == pytest.approx([expected.mean().item()] * 4, rel=1e-4)
    else:
        scored = tags != IGNORE
        assert found[0].item() == pytest.approx(F.cross_entropy(values[scored], tags[scored]).item())
    predicted, true = metric_arguments(objective, values, targets)
    assert len(predicted) == len(true) == ((tags != IGNORE).sum() if task == "tags" else 4)
    assert true.is_floating_point() == task.startswith("number")
    if task == "two":
        assert predicted.tolist() == pytest.approx(torch.sigmoid(values[:, 0]).tolist())


def test_a_regression_and_pairs(config: Compose, small: Compose, tmp_path: Path) -> None:
    result = run(
        small(
            "loss._target_=torch.nn.HuberLoss",
            "metric._target_=torchmetrics.MeanAbsoluteError",
            "instruments=off",
        )
    )
    table = predictions.read(result.directory / "predictions.csv")
    error = np.abs(table.target - table.prediction).mean()
    assert result.summary["test/mean_absolute_error"] == pytest.approx(error, rel=1e-4)
    pairs = tmp_path / "pairs.tsv"
    words = [f"{a}{b}" for a in "abcdef" for b in "abcdef"]
    pairs.write_text("source\ttarget\n" + "\n".join(f"{w}\t{w[::-1]}" for w in words))
    own = ("data=pairs_file", f"data.path={pairs}", "data.unit=character", *FAST, "instruments=off")
    done = run(config(*own, "loss._target_=torch.nn.CrossEntropyLoss"))
    assert np.isfinite(done.summary["test/loss"])
    with pytest.raises(ConfigError, match="metric: these data have generated sequences"):
        run(config(*own, "metric._target_=torchmetrics.MeanAbsoluteError"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["+loss.gamma=2"],
            r"loss.gamma: unknown key; Allowed in loss: _target_, class_weights, label_smoothing",
        ),
        (
            ["+loss.class_weight=balanced"],
            r"loss.class_weight: unknown key, did you mean loss.class_weights\?",
        ),
        (["loss._target_=torch.nn.HubrLoss"], r"loss._target_: given .*did you mean torch.nn.HuberLoss\?"),
        (
            ["loss._target_=torch.nn.HuberLoss", "+loss.delt=1"],
            r"loss.delt: unknown key, did you mean loss.delta\?",
        ),
        (
            ["loss._target_=torch.nn.CrossEntropyLoss", "loss.class_weights=balanced"],
            r'loss.class_weights: given "balanced", which torch.nn.CrossEntropyLoss does not get',
        ),
        (
            ["metric._target_=torch.nn.MSELoss"],
            r"metric._target_: given torch.nn.MSELoss, allowed: a torchmetrics",
        ),
        (["monitor=multiclass_auroc"], r"monitor: given multiclass_auroc"),
    ],
)
def test_what_does_not_fit_is_one_message(small: Compose, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(small("instruments=off", *options))


def test_names_and_ids(config: Compose) -> None:
    assert snake_case("MulticlassAUROC") == "multiclass_auroc"
    assert snake_case("MeanAbsoluteError") == "mean_absolute_error"
    cfg = config("data=digits")
    plain = {name: node for name, node in cfg.items() if name not in ("loss", "metric")}
    assert run_id(cfg) == run_id(plain)


def test_a_loss_of_another_shape() -> None:
    objective = objective_for(spec("classification", ("a", "b", "c")))
    expected = r"the loss returned \(3,\), allowed: one number, or one for each of 4"
    with pytest.raises(ConfigError, match=expected):
        minimised_by(lambda values, _: values[0], objective, torch.zeros(4, 3), torch.zeros(4).long())
