"""Training in real runs: order of batches, schedules, validation, steps, seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose, first_few
from pytorch_lightning import Trainer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR
from tracking.records import AtStep, at_step, record, rows, stop_at

from gatescope.config import ConfigError
from gatescope.instruments import probe
from gatescope.models.seq2seq import Seq2Seq
from gatescope.run import run
from gatescope.sequences import Batch
from gatescope.tracking.identity import run_dir
from gatescope.training import timing
from gatescope.training.module import SequenceTask

STEPS_OF_AN_EPOCH = 4
Order = list[tuple[int, int, list[int]]]
"""(epoch, updates before it, ids) of each batch of training, in order."""


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Order:
    """Return a list of all training batches from now on."""
    seen: Order = []
    step = SequenceTask.training_step

    def training_step(self: SequenceTask, batch: Batch, batch_idx: int) -> torch.Tensor:
        seen.append((self.current_epoch, self.global_step, batch.ids.tolist()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceTask, "training_step", training_step)
    return seen


def by_epoch(order: Order) -> list[list[list[int]]]:
    """Return the ids of the batches of each epoch."""
    return [[ids for epoch, _, ids in order if epoch == e] for e in sorted({epoch for epoch, *_ in order})]


def lasting(order: Order) -> Order:
    """Return the batches without repeated ones, of which the last counts, as in the record."""
    return list({(epoch, tuple(ids)): (epoch, step, ids) for epoch, step, ids in order}.values())


# Order of batches


@pytest.mark.parametrize("more", [[], ["data.workers=1"], ["+trainer.val_check_interval=2"]])
def test_each_epoch_has_every_example_once_in_a_new_order(
    small: Compose, order: Order, more: list[str]
) -> None:
    run(small("trainer.max_epochs=4", "instruments=off", *more))
    epochs = by_epoch(order)
    assert [len(epoch) for epoch in epochs] == [STEPS_OF_AN_EPOCH] * 4
    assert all(sorted(chain(*epoch)) == list(range(64)) for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) == 4


def test_the_order_depends_on_seed_and_epoch_alone(small: Compose, order: Order, tmp_path: Path) -> None:
    orders = []
    for where, more in (("a", ()), ("b", ("model=lstm", "optimizer.lr=0.1")), ("c", ("seed=1",))):
        run(small("trainer.max_epochs=2", "instruments=off", f"root={tmp_path}/{where}", *more))
        orders.append(by_epoch(order))
        order.clear()
    assert orders[0] == orders[1] != orders[2]


def test_overfit_batches_keeps_the_same_batches(small: Compose, order: Order) -> None:
    run(small("trainer.max_epochs=3", "instruments=off", "+trainer.overfit_batches=2"))
    epochs = by_epoch(order)
    assert len(epochs[0]) == 2
    assert epochs[0] == epochs[1] == epochs[2]


@pytest.mark.parametrize(
    ("checkpoint", "more"),
    [
        (2, []),
        (4, []),  # between two epochs
        pytest.param(6, ["data.workers=1"], marks=pytest.mark.slow),
        pytest.param(6, ["+trainer.val_check_interval=3"], marks=pytest.mark.slow),
        pytest.param(3, ["+trainer.accumulate_grad_batches=2"], marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_continues_in_the_same_order(
    small: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: Order,
    checkpoint: int,
    more: list[str],
) -> None:
    settings = ("trainer.max_epochs=4", "instruments=off", "checkpoint.every_n_steps=1", *more)
    run(small(*settings, f"root={tmp_path}/whole"))
    whole, cfg = order.copy(), small(*settings, f"root={tmp_path}/stopped")
    order.clear()
    stop_at(monkeypatch, cfg, checkpoint)
    run(cfg)
    assert record(run_dir(cfg))["resumed"]
    assert lasting(order) == whole


# Evaluation


@pytest.mark.slow
def test_a_part_of_the_evaluation_has_short_and_long_sequences(
    config: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
    ids: dict[str, set[int]] = {"validation": set(), "test": set()}
    for stage, kept in lengths.items():
        step = getattr(SequenceTask, f"{stage}_step")

        def evaluated(self: Any, batch: Batch, batch_idx: int, step=step, kept=kept, stage=stage) -> Any:
            kept.append(batch.lengths.numpy())
            ids[stage].update(batch.ids.tolist())
            return step(self, batch, batch_idx)

        monkeypatch.setattr(SequenceTask, f"{stage}_step", evaluated)
    half = ("+trainer.limit_val_batches=0.5", "+trainer.limit_test_batches=0.5")
    fast = ("model.hidden_size=4", "trainer.max_epochs=1", "tracking=off", "instruments=off")
    chosen = []
    for seed in (0, 1):
        cfg = config("data=tweets", "data.limit=1500", "data.batch_size=2", *fast, *half, f"seed={seed}")
        data = run(cfg).data
        chosen.append((frozenset(ids["validation"]), frozenset(ids["test"])))
        for kept in ids.values():
            kept.clear()
    assert chosen[0] == chosen[1]  # whatever the run's seed: comparisons are on the same examples
    for stage, kept in lengths.items():
        whole = getattr(data.splits, stage).lengths
        mean, spread = whole.mean(), whole.std() / math.sqrt(len(whole))
        assert abs(np.concatenate(kept).mean() - mean) < 4 * spread
        assert len(np.concatenate(kept)) < 0.6 * 2 * len(whole)


# Learning rate


def rates(directory: Path) -> list[float]:
    """Return the learning rate of each update."""
    return [row["learning_rate"] for row in rows(directory) if "learning_rate" in row]


def half_cosine(updates: int, lr: float = 0.01) -> list[float]:
    return [lr * (1 + math.cos(math.pi * k / updates)) / 2 for k in range(updates)]


@pytest.mark.parametrize(
    ("limits", "updates"),
    [
        (["trainer.max_epochs=3"], 12),
        (["trainer.max_epochs=-1", "trainer.max_steps=10"], 10),
        (["trainer.max_epochs=3", "trainer.max_steps=6"], 6),
        (["trainer.max_epochs=2", "trainer.max_steps=1000"], 8),
        (["trainer.max_epochs=2", "+trainer.accumulate_grad_batches=3"], 4),
        (["trainer.max_epochs=2", "+trainer.limit_train_batches=3"], 6),
    ],
)
def test_cosine_ends_with_the_run(small: Compose, limits: list[str], updates: int) -> None:
    result = run(small("scheduler=cosine", "optimizer.lr=0.01", "instruments=off", *limits))
    assert rates(result.directory) == pytest.approx(half_cosine(updates), rel=1e-5)


def test_cosine_ends_with_the_time(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training step takes a second of a fake clock."""
    clock = Clock(monkeypatch, "pytorch_lightning.callbacks.timer.time.monotonic")
    step = SequenceTask.training_step

    def training_step(self: SequenceTask, *arguments: Any) -> torch.Tensor:
        clock.now += 1
        return step(self, *arguments)

    monkeypatch.setattr(SequenceTask, "training_step", training_step)
    limits = ("trainer.max_epochs=-1", "+trainer.max_time=00:00:00:10")
    result = run(small("scheduler=cosine", "optimizer.lr=0.01", "instruments=off", *limits))
    assert rates(result.directory) == pytest.approx(half_cosine(10), rel=1e-5)
    assert [row["step"] for row in rows(result.directory) if "validation/loss" in row] == [4, 8, 10]


def torch_rates(updates: int, warmup: int, decay: str, lr: float = 0.01) -> list[float]:
    """Return the rates of torch's own schedulers: a linear warm-up, then a decay to an end of 0.001."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    after = updates - warmup
    later: Any = {
        "cosine": lambda: CosineAnnealingLR(optimizer, after, eta_min=0.001),
        "linear": lambda: LinearLR(optimizer, 1.0, 0.1, after),
        "constant": lambda: ConstantLR(optimizer, 1.0),
    }[decay]
    rising = LinearLR(optimizer, 0.01, 1.0, warmup)
    scheduler = SequentialLR(optimizer, [rising, later()], [warmup])
    found = []
    for _ in range(updates):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(
    ("limits", "updates"),
    [
        (["trainer.max_epochs=3"], 12),
        (["trainer.max_epochs=-1", "trainer.max_steps=12"], 12),
        (["trainer.max_epochs=9", "trainer.max_steps=12"], 12),
        (["trainer.max_epochs=6", "+trainer.accumulate_grad_batches=3"], 12),
        (["trainer.max_epochs=4", "+trainer.limit_train_batches=3"], 12),
    ],
)
@pytest.mark.parametrize("warmup", first_few(["0.25", "3"], 1))
def test_warmup_and_decay_are_those_of_torch(
    small: Compose, decay: str, limits: list[str], updates: int, warmup: str
) -> None:
    end = [] if decay == "constant" else ["scheduler.eta_min=0.001"]
    options = (f"scheduler={decay}", f"scheduler.warmup={warmup}", "optimizer.lr=0.01", "instruments=off")
    result = run(small(*options, *end, *limits))
    assert rates(result.directory) == pytest.approx(torch_rates(updates, 3, decay), rel=1e-4)


@pytest.mark.parametrize("warmup", ["0.2", "2"])
def test_warmup_of_a_run_that_time_ends(small: Compose, monkeypatch: pytest.MonkeyPatch, warmup: str) -> None:
    """Each training step takes a second of a fake clock; a number of updates ends at no known share."""
    clock = Clock(monkeypatch, "pytorch_lightning.callbacks.timer.time.monotonic")
    step = SequenceTask.training_step

    def training_step(self: SequenceTask, *arguments: Any) -> torch.Tensor:
        clock.now += 1
        return step(self, *arguments)

    monkeypatch.setattr(SequenceTask, "training_step", training_step)
    limits = ("trainer.max_epochs=-1", "+trainer.max_time=00:00:00:10", f"scheduler.warmup={warmup}")
    result = run(small("scheduler=linear", "optimizer.lr=0.01", "instruments=off", *limits))
    rising = [0.0001, 0.00505]
    end = 2 if warmup == "0.2" else 0
    falling = [0.01 * (1 - (k - end) / (10 - end)) for k in range(2, 10)]
    assert rates(result.directory) == pytest.approx(rising + falling, rel=1e-4)


def test_a_warmup_that_is_longer_than_the_run_is_said(
    small: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    result = run(small("scheduler=cosine", "scheduler.warmup=100", "optimizer.lr=0.01", "instruments=off"))
    assert rates(result.directory) == pytest.approx([0.01 * (0.01 + 0.99 * k / 100) for k in range(4)])
    assert "scheduler.warmup: given 100 updates, and the run has 4" in caplog.text


class Clock:
    """A clock that only the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.now = 0.0
        monkeypatch.setattr(name, lambda: self.now)


def fake_validation(monkeypatch: pytest.MonkeyPatch, **values: dict[int, float]) -> None:
    """Replace validation metrics: values by number of updates, which hold until the next given one.

    Only the values that the module logs are replaced, not what Lightning does with them.
    """
    log = SequenceTask.log

    def logging(self: SequenceTask, name: str, value: Any, *arguments: Any, **options: Any) -> None:
        stage, _, metric = name.partition("/")
        if stage == "validation" and metric in values:
            given = values[metric]
            value = torch.tensor(given[max((s for s in given if s <= self.global_step), default=min(given))])
            options |= {"metric_attribute": None}
        log(self, name, value, *arguments, **options)

    def log_dict(self: SequenceTask, dictionary: Any, *arguments: Any, **options: Any) -> None:
        if not hasattr(dictionary, "compute"):
            for name, value in dictionary.items():
                self.log(name, value, *arguments, **options)
            return
        for name, value in dictionary.compute().items():
            self.log(name, value, *arguments, **options)
        dictionary.reset()

    monkeypatch.setattr(SequenceTask, "log", logging)
    monkeypatch.setattr(SequenceTask, "log_dict", log_dict)


@pytest.mark.parametrize(
    ("direction", "metric", "data"),
    [("max", "accuracy", "delayed_recall"), ("min", "mse", "adding")],
)
def test_plateau_lowers_the_rate_if_the_metric_does_not_improve(
    config: Compose, monkeypatch: pytest.MonkeyPatch, direction: str, metric: str, data: str
) -> None:
    rising = {4 * (e + 1): float(e + 1) for e in range(6)}
    better = rising if direction == "max" else {step: -value for step, value in rising.items()}
    worse = {step: -value for step, value in better.items()}
    sizes = ("data.train=64", "data.validation=32", "data.test=32", "data.batch_size=16")
    task = (f"data={data}", "data.lag=3" if data == "delayed_recall" else "data.steps=8", *sizes)
    fast = ("model.hidden_size=4", "tracking=off", "instruments=off", "trainer.max_epochs=5")
    plateau = (
        "scheduler=plateau",
        "scheduler.patience=0",
        "optimizer.lr=0.01",
        "trainer.log_every_n_steps=4",
    )
    found = {}
    for name, values in (("better", better), ("worse", worse)):
        with monkeypatch.context() as patch:
            fake_validation(patch, **{metric: values})
            result = run(config(*task, *fast, *plateau, f"seed={len(found)}"))
        assert result.data.task.direction == direction
        found[name] = rates(result.directory)
    assert found["better"] == pytest.approx([0.01] * 5)
    assert found["worse"] == pytest.approx([0.01, 0.01, 0.005, 0.0025, 0.00125])


def test_a_plateau_of_the_other_direction_is_refused(small: Compose) -> None:
    with pytest.raises(
        ValueError, match=r"scheduler.mode: given max, but validation/mse is better when it is low"
    ):
        run(small("scheduler=plateau", "+scheduler.mode=max"))


def test_plateau_and_early_stopping_count_validations(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_validation(monkeypatch, mse={0: 1.0})  # the first validation is the best
    every_other_epoch = ("trainer.max_epochs=20", "+trainer.check_val_every_n_epoch=2", "instruments=off")
    result = run(small(*every_other_epoch, "early_stopping.patience=2"))
    assert record(result.directory)["summary"]["epochs"] == 6  # validated after 2, 4 and 6
    plateau = ("scheduler=plateau", "scheduler.patience=1", "optimizer.lr=0.01", "trainer.max_epochs=9")
    result = run(small(*every_other_epoch, *plateau))
    epochs = rates(result.directory)[::STEPS_OF_AN_EPOCH]
    assert epochs == pytest.approx(
        [0.01] * 6 + [0.005] * 3
    )  # lowered by the third validation, after 6 epochs


# Validation


def test_the_last_weights_are_validated_and_can_be_the_best(small: Compose) -> None:
    result = run(small("trainer.max_epochs=-1", "trainer.max_steps=6", "optimizer.lr=0.01"))
    validated = {
        row["step"]: row["validation/mse"] for row in rows(result.directory) if "validation/mse" in row
    }
    assert list(validated) == [4, 6]
    assert validated[6] < validated[4]
    assert result.summary["best/step"] == 6
    assert result.monitored == validated[6]


@pytest.mark.parametrize(
    ("settings", "validated"),
    [
        (["trainer.max_steps=3"], [3]),
        (["trainer.max_steps=4"], [4]),
        (["trainer.max_epochs=3", "+trainer.check_val_every_n_epoch=2"], [8, 12]),
        (["trainer.max_epochs=2", "+trainer.val_check_interval=3"], [3, 7, 8]),
        (["trainer.max_epochs=-1", "trainer.max_steps=7", "+trainer.val_check_interval=2"], [2, 4, 6, 7]),
        (["trainer.max_epochs=1", "+trainer.accumulate_grad_batches=3"], [2]),
        (["trainer.max_steps=3", "early_stopping.patience=1", "scheduler=plateau"], [3]),
        (
            ["trainer.max_epochs=3", "+trainer.check_val_every_n_epoch=2", "early_stopping.patience=1"],
            [8, 12],
        ),
        (["trainer.max_epochs=3", "+trainer.check_val_every_n_epoch=2", "scheduler=plateau"], [8, 12]),
        (  # early stopping asks for the end after 16 updates, the number of epochs allows it after 20
            [
                "trainer.max_epochs=10",
                "+trainer.min_epochs=5",
                "+trainer.check_val_every_n_epoch=2",
                "early_stopping.patience=1",
                "optimizer.lr=1e-20",
            ],
            [8, 16, 20],
        ),
    ],
)
def test_each_run_is_validated_once_at_its_end(
    small: Compose, settings: list[str], validated: list[int]
) -> None:
    result = run(small("instruments=off", *settings))
    assert [row["step"] for row in rows(result.directory) if "validation/mse" in row] == validated
    assert math.isfinite(result.monitored)


def test_without_validation_the_last_weights_are_tested(small: Compose) -> None:
    result = run(small("+trainer.limit_val_batches=0", "instruments=off"))
    assert not [row for row in rows(result.directory) if "validation/mse" in row]
    assert math.isfinite(result.summary["test/mse"])
    assert result.summary["best/step"] == STEPS_OF_AN_EPOCH


@pytest.mark.parametrize(
    "group", ["early_stopping.patience=1", "early_stopping.threshold=0.5", "scheduler=plateau"]
)
def test_plateau_and_early_stopping_need_validation(small: Compose, group: str) -> None:
    with pytest.raises(ConfigError, match=r"needs validation, and trainer.limit_val_batches is 0"):
        run(small("+trainer.limit_val_batches=0", group))


def test_the_lower_loss_breaks_ties_of_the_validation_metric(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_validation(monkeypatch, mse={0: 0.5}, loss={4: 3.0, 8: 1.0, 12: 2.0})
    result = run(small("trainer.max_epochs=3", "instruments=off"))
    assert result.summary["best/step"] == 8
    assert result.monitored == 0.5


# Steps, epochs, losses


def test_rows_carry_the_number_of_updates_done(small: Compose) -> None:
    result = run(small("trainer.max_epochs=2", "instruments.every_n_steps=2", "optimizer.lr=0.01"))
    found = rows(result.directory)
    assert [row["step"] for row in found if "train/loss" in row] == list(range(1, 9))
    assert [row["step"] for row in found if "validation/loss" in row] == [4, 8]
    assert [row["step"] for row in found if "train/mse" in row] == [4, 8]
    assert [row["step"] for row in found if "test/loss" in row] == [result.summary["best/step"]]
    measurements = rows(result.directory, "readings")
    looks = [row["step"] for row in measurements if row["name"] == "gates/layer0/update/mean"]
    norms = [row["step"] for row in measurements if row["name"] == "gradient_norm/before_clip"]
    assert looks == [0, 2, 4, 6, 8]
    assert norms == [1, 2, 4, 6, 8]


@pytest.fixture
def wandb_rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return a list of all rows that are logged on W&B from now on."""
    import wandb

    logged: list[dict[str, Any]] = []
    log = wandb.Run.log

    def logging(self: Any, data: dict[str, Any], *arguments: Any, **options: Any) -> None:
        logged.append(data)
        log(self, data, *arguments, **options)

    monkeypatch.setattr(wandb.Run, "log", logging)
    return logged


def test_wandb_has_the_same_steps(small: Compose, wandb_rows: list[dict[str, Any]]) -> None:
    result = run(small("trainer.max_epochs=2", "tracking=offline"))
    for name in ("train/loss", "validation/loss", "test/loss", "gates/layer0/update/mean", "learning_rate"):
        kind = "readings" if name.startswith("gates") else "metrics"
        here = [row["step"] for row in rows(result.directory, kind) if name in (*row, row.get("name"))]
        assert here
        assert here == [row["trainer/global_step"] for row in wandb_rows if name in row], name


def test_predictions_on_wandb_carry_the_step_of_the_tested_weights(
    small: Compose, monkeypatch: pytest.MonkeyPatch, wandb_rows: list[dict[str, Any]]
) -> None:
    fake_validation(monkeypatch, mse={4: 0.0, 8: 1.0})
    result = run(small("trainer.max_epochs=2", "tracking=offline", "instruments=off"))
    assert (result.summary["best/step"], result.summary["steps"]) == (4, 8)
    (row,) = [row for row in wandb_rows if "test/worst_errors" in row]
    assert row["trainer/global_step"] == 4


def test_the_loss_of_an_update_is_the_mean_over_all_its_batches(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[torch.Tensor] = []
    shared = SequenceTask._shared_step

    def step(self: SequenceTask, batch: Batch, batch_idx: int, metrics: Any, stage: str) -> torch.Tensor:
        if stage == "train":
            losses.append(self.objective.loss(self(batch), batch.targets).detach())
        return shared(self, batch, batch_idx, metrics, stage)

    monkeypatch.setattr(SequenceTask, "_shared_step", step)
    result = run(small("+trainer.accumulate_grad_batches=3", "data.train=60", "instruments=off"))
    found = [row["train/loss"] for row in rows(result.directory) if "train/loss" in row]
    updates = [torch.cat(losses[:3]), torch.cat(losses[3:])]  # a batch of 12, the others of 16
    assert [len(update) for update in updates] == [44, 16]
    assert found == pytest.approx([float(update.mean()) for update in updates], rel=1e-5)


def test_only_complete_epochs_are_counted_and_timed(small: Compose) -> None:
    summary = run(small("trainer.max_steps=6", "trainer.max_epochs=-1", "instruments=off")).summary
    assert (summary["epochs"], summary["steps"]) == (1, 6)
    assert summary["seconds_per_epoch"] > 0
    summary = run(small("trainer.max_steps=3", "instruments=off")).summary
    assert (summary["epochs"], summary["steps"]) == (0, 3)
    assert math.isnan(summary["seconds_per_epoch"])


def test_seconds_per_epoch_are_those_of_training(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step takes 1 s of a fake clock, everything else 100 s."""
    clock = Clock(monkeypatch, "time.perf_counter")
    assert timing.time.perf_counter is time.perf_counter

    def lasting(owner: Any, name: str, seconds: float) -> None:
        act: Callable[..., Any] = getattr(owner, name)

        def longer(*arguments: Any, **options: Any) -> Any:
            clock.now += seconds
            return act(*arguments, **options)

        monkeypatch.setattr(owner, name, longer)

    lasting(SequenceTask, "training_step", 1.0)
    lasting(SequenceTask, "validation_step", 100.0)
    lasting(Trainer, "save_checkpoint", 100.0)
    lasting(AtStep, "read", 100.0)
    cfg = small("trainer.max_epochs=3", "checkpoint.every_n_steps=3", *at_step(-1, lambda: None))
    summary = run(cfg).summary
    assert summary["seconds_per_epoch"] == pytest.approx(STEPS_OF_AN_EPOCH)
    assert [row for row in rows(run_dir(cfg)) if "validation/loss" in row]


def test_teacher_forcing_counts_updates(config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    write = Seq2Seq._decode

    def writing(self: Seq2Seq, *arguments: Any) -> Any:
        if self.training:
            asked.append(self.updates)
        return write(self, *arguments)

    monkeypatch.setattr(Seq2Seq, "_decode", writing)
    sizes = ("data.train=64", "data.validation=8", "data.test=8", "data.batch_size=16", "model.hidden_size=4")
    schedule = (
        "decoder.teacher_forcing=0.5",
        "decoder.schedule_steps=4",
        "+trainer.accumulate_grad_batches=2",
    )
    run(config("data=dates", *sizes, *schedule, "trainer.max_epochs=2", "tracking=off", "instruments=off"))
    assert asked == [0, 0, 1, 1, 2, 2, 3, 3]


# The tested weights


def of_tested_weights(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the measurements of the tested weights by name, without the prefix."""
    found = [row for row in rows(directory, "readings") if row["name"].startswith("tested/")]
    return {row["name"].removeprefix("tested/"): row for row in found}


@pytest.mark.parametrize("best", [4, 8, 12])
def test_the_tested_weights_are_measured(small: Compose, monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    fake_validation(monkeypatch, mse={step: float(step != best) for step in (4, 8, 12)})
    result = run(small("trainer.max_epochs=3", "instruments.every_n_steps=4", "optimizer.lr=0.01"))
    assert result.summary["best/step"] == best
    found = of_tested_weights(result.directory)
    assert "gradient_flow/layer0/half_life" in found
    for row in rows(result.directory, "readings"):
        if row["step"] == best and row["name"] in found:
            then, now = (
                {k: v for k, v in one.items() if k not in ("name", "epoch", "order")}
                for one in (row, found[row["name"]])
            )
            assert then == now
    assert {row["step"] for row in found.values()} == {best}
    module = result.module
    assert module is not None
    kept = torch.load(result.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(kept[name], value) for name, value in module.state_dict().items())


def test_weights_that_were_just_measured_are_not_measured_again(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    whole = probe.probe_model
    monkeypatch.setattr(
        "gatescope.instruments.probe_callback.probe_model", lambda *a: looks.append(a[-1]) or whole(*a)
    )
    fake_validation(monkeypatch, mse={0: 1.0, 8: 0.0})
    assert of_tested_weights(run(small("trainer.max_epochs=2", "instruments.every_n_steps=100")).directory)
    assert looks == [0, 8]


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_a_run_in_another_precision_is_measured_in_float32(small: Compose, precision: str) -> None:
    result = run(small(f"trainer.precision={precision}", "kernel=torch", "optimizer.fused=false"))
    found = of_tested_weights(result.directory)
    assert 0 < found["gates/layer0/update/mean"]["value"] < 1
