"""What a run says while it trains and when it has ended."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose

from gatescope import announce
from gatescope.data.generated.adding import Adding
from gatescope.run import load_data, run
from gatescope.tracking.closing import lines_of_run
from gatescope.tracking.outcomes import sweep_table
from gatescope.training.display import EpochLoss

QUIET = ("instruments=off", "kernel=torch", "trainer.max_epochs=2")


def test_without_a_terminal_each_epoch_has_a_line_with_the_recorded_values(
    small: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        directory = run(small(*QUIET)).directory
    lines = [line for line in caplog.messages if line.startswith("epoch ")]
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    validated = [row["validation/mse"] for row in rows if "validation/mse" in row]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]  # every step is logged, and the
    half = len(losses) // 2  # batches of an epoch have equal sizes
    assert len(lines) == len(validated) == 2
    for place, (line, value) in enumerate(zip(lines, validated, strict=True)):
        mean = sum(losses[place * half : (place + 1) * half]) / half
        best = min(validated[: place + 1])
        start = (
            f"epoch {place + 1} of 2: train loss {mean:#.4g}, validation mse {value:#.4g}, best {best:#.4g}"
        )
        assert line.startswith(f"{start} (epoch {validated.index(best) + 1}), "), line
        assert re.search(r", \d+\.\d s$", line)


def test_the_bar_shows_loss_and_metric(small: Compose, capfd: pytest.CaptureFixture[str]) -> None:
    run(small(*QUIET, "trainer.enable_progress_bar=true"))
    shown = "".join(capfd.readouterr())
    assert "epoch 2 of 2" in shown
    assert re.search(r"train loss=\d", shown)
    assert re.search(r"validation mse=\d", shown)


def test_the_mean_of_an_epoch_weights_batches_by_their_examples() -> None:
    loss = EpochLoss()
    loss.add(torch.tensor(1.0), 3)
    loss.add(torch.tensor(5.0), 1)
    assert loss.value == 2.0
    loss.reset()
    assert loss.value != loss.value


def finished(cfg: Any, **changes: Any) -> None:
    from gatescope.tracking.identity import run_dir

    directory = run_dir(cfg)
    directory.mkdir(parents=True)
    task = {"kind": "classification", "inputs": "tokens", "metric": "accuracy", "direction": "max"}
    content = {
        "run_id": directory.name,
        "study": "default",
        "status": "finished",
        "task": task,
        "summary": {},
    }
    (directory / "run.json").write_text(json.dumps(content | changes))
    rows = [{"step": 10 * n, "epoch": n - 1, "validation/accuracy": 0.5} for n in (1, 2, 3)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


SUMMARY = {"test/accuracy": 0.7, "best/step": 30.0, "steps": 30.0, "epochs": 3.0}


def test_a_run_whose_last_epoch_was_best_names_the_key(config: Compose, tmp_path: Path) -> None:
    cfg = config("trainer.max_epochs=3")
    finished(cfg, summary=SUMMARY)
    first, linear, *following = lines_of_run(cfg)
    assert first.startswith("validation accuracy was best at the end (epoch 3 of 3)")
    assert first.endswith("raise trainer.max_epochs")
    assert linear == "a linear model to compare with: gatescope train model=tfidf_logistic" or (
        linear.endswith("train.py model=tfidf_logistic")
    )
    assert [re.split(r"[ /]", line.strip())[-1] for line in following[:1]] == ['text="…"']
    assert all(f"root={tmp_path}" in line for line in following)
    assert not any("wandb sync" in line for line in following)
    (
        tmp_path
        / "default"
        / "wandb"
        / f"offline-run-20260101_000000-{following[0].split('run=')[1].split()[0]}"
    ).mkdir(parents=True)
    assert "wandb sync" in lines_of_run(cfg)[-1]


def test_a_run_is_compared_with_the_linear_model_of_its_study(config: Compose) -> None:
    cfg = config("trainer.max_epochs=9")
    finished(cfg, summary=SUMMARY | {"best/step": 20.0})
    from gatescope.tracking.record import result_json

    for seed, data, value in ((0, "tweets", 0.7), (1, "tweets", 0.8), (0, "bbc_news", 0.99)):
        other = config("model=tfidf_logistic", f"data={data}", f"seed={seed}")
        finished(other, summary={"test/accuracy": value}, result_config=result_json(other))
    best, bar, *_ = lines_of_run(cfg)
    assert best == "validation accuracy was best in epoch 2 of 3; the weights of that epoch were tested"
    assert bar == (
        "test accuracy 0.7 is not better than 0.75 of model=tfidf_logistic on the same data (mean of 2 seeds)"
    )


def test_the_table_of_a_sweep_has_the_metric_that_runs_monitor(config: Compose) -> None:
    cfg = config("monitor=macro_f1")
    task = {"metric": "accuracy", "direction": "max", "monitor": {"metric": "macro_f1", "direction": "max"}}
    finished(cfg, task=task, summary={"test/accuracy": 0.7, "test/macro_f1": 0.4}, seconds=2.0)
    assert "test/macro_f1 0.4000" in sweep_table([cfg], {})


def test_what_takes_long_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "SECONDS", 0.01)
    with announce.announced("reading a.csv"):
        time.sleep(0.2)
    monkeypatch.setattr(announce, "SECONDS", 60.0)
    with announce.announced("reading b.csv"):
        pass
    assert capsys.readouterr().err == "reading a.csv\n"


def test_a_run_names_the_data_that_take_long_to_read(
    small: Compose, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Adding.setup

    def slow(data: Adding, *arguments: Any) -> None:
        time.sleep(0.2)
        setup(data, *arguments)

    monkeypatch.setattr(announce, "SECONDS", 0.01)
    monkeypatch.setattr(Adding, "setup", slow)
    load_data(small())
    assert capsys.readouterr().err == "reading the data adding\n"
