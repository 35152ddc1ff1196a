"""The metric by which weights are kept, training ends early and a plateau is recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FAST, Compose
from torchmetrics import MeanSquaredError, MetricCollection, SumMetric
from tracking.records import record, rows
from training.test_trainer import fake_validation, rates

from gatescope.config import ConfigError
from gatescope.run import RunResult, load_data, run
from gatescope.sequences import TaskSpec
from gatescope.tracking.closing import lines_of_run
from gatescope.tracking.identity import run_id
from gatescope.tracking.outcomes import monitored_value
from gatescope.training.monitor import Monitor, choose_monitor
from gatescope.training.objective import objective_for


def rare(config: Compose, tmp_path: Path, *options: str) -> RunResult:
    """Train on 2000 series of which 6 % are positive, and differ from the others by 1.5 deviations."""
    draw = np.random.default_rng(0)
    y = (draw.random(2000) < 0.06).astype(int)
    x = draw.normal(size=(2000, 4)) + 0.75 * y[:, None]
    np.savez(tmp_path / "rare.npz", x=x, y=y)
    words = ("data=series_file", f"data.path={tmp_path}/rare.npz", "data.validation=0.3", "data.test=0.3")
    more = ("trainer.max_epochs=12", "optimizer.lr=0.02", "instruments=off", "model.hidden_size=32")
    return run(config(*words, *FAST, *more, *options))


def test_macro_f1_keeps_useful_weights_where_accuracy_does_not(config: Compose, tmp_path: Path) -> None:
    by_accuracy, by_f1 = rare(config, tmp_path), rare(config, tmp_path, "monitor=macro_f1")
    validated = {row["step"]: row for row in rows(by_f1.directory) if "validation/loss" in row}
    kept = [validated[int(result.summary["best/step"])] for result in (by_accuracy, by_f1)]
    assert kept[0]["validation/macro_f1"] < 0.49  # no positive is ever predicted
    assert kept[1]["validation/macro_f1"] == max(row["validation/macro_f1"] for row in validated.values())
    assert by_accuracy.summary["test/macro_f1"] < 0.55
    assert by_f1.summary["test/macro_f1"] > 0.65
    assert by_f1.monitored == by_f1.summary["best/validation/macro_f1"] == kept[1]["validation/macro_f1"]
    assert by_f1.summary["best/validation/accuracy"] == kept[1]["validation/accuracy"]


def test_a_recorded_run_returns_what_it_monitored(small: Compose) -> None:
    cfg = small("trainer.max_epochs=3", "monitor=loss", "instruments=off")
    first = run(cfg)
    assert first.monitored == min(
        r["validation/loss"] for r in rows(first.directory) if "validation/loss" in r
    )
    assert record(first.directory)["task"]["monitor"] == {"metric": "loss", "direction": "min"}
    assert run(cfg).monitored == monitored_value(first.directory) == first.monitored
    assert "monitor" not in record(run(small("instruments=off")).directory)["task"]


def test_early_stopping_and_plateau_observe_it(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the data improves with each validation; the share of solved examples does not."""
    falling = {4 * epoch: 1.0 / epoch for epoch in range(1, 20)}
    fake_validation(monkeypatch, mse=falling, solved={0: 0.5})
    long = ("trainer.max_epochs=9", "optimizer.lr=0.01", "instruments=off", "monitor=solved")
    stopped = run(small(*long, "early_stopping.patience=2"))
    assert stopped.summary["epochs"] == 3
    lowered = run(small(*long, "scheduler=plateau", "scheduler.patience=1", "scheduler.factor=0.5"))
    by_epoch = rates(lowered.directory)[::4]
    assert by_epoch == pytest.approx([0.01] * 3 + [0.005] * 2 + [0.0025] * 2 + [0.00125] * 2)


def test_min_delta_is_the_smallest_improvement(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_validation(monkeypatch, mse={4 * epoch: 1.0 - 0.01 * epoch for epoch in range(1, 20)})
    stopping = ("trainer.max_epochs=9", "instruments=off", "early_stopping.patience=2")
    assert run(small(*stopping)).summary["epochs"] == 9
    assert run(small(*stopping, "early_stopping.min_delta=0.1")).summary["epochs"] == 3


def test_training_ends_at_the_threshold(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    falling = {4 * epoch: 1.0 / epoch for epoch in range(1, 20)}
    fake_validation(monkeypatch, mse=falling, solved={0: 0.5})
    options = ("trainer.max_epochs=6", "instruments=off", "early_stopping.threshold=0.3")
    ended = run(small(*options))
    assert ended.summary["epochs"] == 4  # 1/4 is the first value below 0.3
    assert "may still improve" not in "\n".join(lines_of_run(small(*options)))
    assert run(small(*options, "early_stopping.min_steps=99")).summary["epochs"] == 4
    assert run(small(*options, "monitor=solved")).summary["epochs"] == 1  # larger is better


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["monitor=macrof1"], r"monitor: given macrof1; the metrics of these data are loss, mse, solved"),
        (
            ["monitor=mes"],
            r"monitor: given mes, did you mean mse\? the metrics of these data are loss, mse, solved",
        ),
        (
            ["monitor=loss", "monitor_direction=max"],
            r"given max, but loss is better when it is low; remove it",
        ),
        (["monitor_direction=up"], r"monitor_direction: given \"up\", allowed: 'max' or 'min'"),
    ],
)
def test_a_wrong_monitor_is_one_message(small: Compose, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(small(*options))
    assert len(caught.value.problems) == 1


def test_a_metric_that_does_not_say_its_direction_is_given_one() -> None:
    task = TaskSpec("regression", "features", 1, 1, "mse", "min")
    metrics = MetricCollection({"mse": MeanSquaredError(), "total": SumMetric()})
    with pytest.raises(ConfigError, match=r"monitor_direction: the better direction of total is not known"):
        choose_monitor(task, metrics, "total")
    assert choose_monitor(task, metrics, "validation/total", "max") == Monitor("total", "max")


@pytest.mark.parametrize(
    "data",
    [
        "data=tweets",
        "data=g2p",
        pytest.param("data=chorales", marks=pytest.mark.slow),
        pytest.param("data=adding", marks=pytest.mark.slow),
        pytest.param("data=copy", marks=pytest.mark.slow),
    ],
)
def test_every_metric_of_the_package_says_its_direction(config: Compose, data: str) -> None:
    cfg = config(data, "model.hidden_size=4", *(["decoder=recurrent"] if data == "data=g2p" else []))
    task = load_data(cfg).task
    metrics = objective_for(task).metrics()
    for name in metrics:
        assert choose_monitor(task, metrics, str(name)).direction == (
            "min" if str(name).endswith(("error_rate", "nll", "mse")) else "max"
        )


def test_the_defaults_change_no_id(config: Compose) -> None:
    plain = {name: node for name, node in config().items() if not str(name).startswith("monitor")}
    plain["early_stopping"] = {"patience": None}
    assert run_id(config()) == run_id(plain)
    for option in ("monitor=macro_f1", "early_stopping.min_delta=0.1"):
        assert run_id(config(option)) != run_id(plain)


def test_the_mean_over_validations_chooses_the_weights(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    lucky = {4 * (epoch + 1): value for epoch, value in enumerate((0.1, 0.9, 0.2, 0.5, 0.6, 0.7, 0.3))}
    fake_validation(monkeypatch, solved=lucky)
    options = ("monitor=solved", "instruments=off", "trainer.max_epochs=7", "checkpoint.keep=all")
    single, mean = run(small(*options)), run(small(*options, "monitor_window=3"))
    assert single.summary["best/step"] == 8
    assert mean.summary["best/step"] == 24  # (0.5 + 0.6 + 0.7) / 3
    assert mean.monitored == mean.summary["best/validation/solved"] == pytest.approx(0.7)
    # The state of a checkpoint callback has the name of its metric: that of one validation is the plain one.
    plain = torch.load(single.directory / "checkpoints" / "last.ckpt", weights_only=False)["callbacks"]
    assert "SmoothedMonitor" not in plain
    assert any("BestCheckpoint" in key and "'monitor': 'validation/solved'," in key for key in plain)
    last = torch.load(mean.directory / "checkpoints" / "last.ckpt", weights_only=False)
    state = last["callbacks"]["SmoothedMonitor"]
    assert state["values"] == pytest.approx([0.6, 0.7, 0.3])
