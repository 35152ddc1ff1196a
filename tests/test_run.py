"""One complete run, and the record of runs that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAST, ROOT, SMALL, Compose

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements
from gatescope.instruments.probe import Probe
from gatescope.models.stack import RecurrentStack
from gatescope.run import run
from gatescope.tracking.directory import RecordError
from gatescope.tracking.wandb import CredentialsError
from gatescope.training.finite_loss import NonFiniteLoss


def record(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "run.json").read_text())  # type: ignore[no-any-return]


def rows(directory: Path, name: str = "metrics") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{name}.jsonl").read_text().splitlines()]


def only_run(root: Path) -> Path:
    (found,) = root.glob("*/*/run.json")
    return found.parent


def test_the_record_is_complete(small: Compose) -> None:
    result = run(small("attention=additive"))
    told = record(result.directory)
    assert (told["status"], told["exit_code"], told["reason"]) == ("finished", 0, None)
    assert told["tags"]["variant"] == "gru-additive"
    assert told["parameters"]["hidden_size"] == 6
    assert told["summary"]["test/mse"] == pytest.approx(result.summary["test/mse"])
    assert {"train/loss", "validation/mse", "test/solved", "seconds_per_epoch"} <= set().union(
        *rows(result.directory)
    )
    names = {row["name"] for row in rows(result.directory, "readings")}
    assert {"gates/layer0/update/mean", "attention/entropy", "gradient_norm/before_clip"} <= names
    steps = {row["step"] for row in rows(result.directory, "readings")}
    assert {0, 4} <= steps
    assert (result.directory / "config.yaml").read_text().count("${") == 0


def test_a_run_without_validation_logs_a_warning(small: Compose, caplog: pytest.LogCaptureFixture) -> None:
    result = run(small("+trainer.limit_val_batches=0"))
    assert "no validation ran: the last weights are tested" in caplog.text
    assert "test/mse" in result.summary


def test_the_same_command_gives_the_same_numbers(small: Compose, tmp_path: Path) -> None:
    first = run(small(f"root={tmp_path}/a", "attention=dot", "model=lstm"))
    second = run(small(f"root={tmp_path}/b", "attention=dot", "model=lstm"))
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name]), name
    timeless = [
        [
            {k: v for k, v in row.items() if k not in ("time", "seconds_per_epoch")}
            for row in rows(r.directory)
        ]
        for r in (first, second)
    ]
    assert timeless[0] == timeless[1]


def test_instruments_change_nothing(small: Compose, tmp_path: Path) -> None:
    dropout = "model.dropout=0.3"
    watched = run(small(f"root={tmp_path}/a", dropout, "instruments=full", "instruments.every_n_steps=1"))
    alone = run(small(f"root={tmp_path}/b", dropout, "instruments=off"))
    assert any(
        "training_signal/layer0/half_life" in row["name"] for row in rows(watched.directory, "readings")
    )
    for name, value in watched.module.state_dict().items():
        assert torch.equal(value, alone.module.state_dict()[name]), name


def test_a_diverged_loss_ends_the_run_and_keeps_the_measurements(small: Compose, tmp_path: Path) -> None:
    cfg = small("optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    with pytest.raises(
        NonFiniteLoss, match=r"loss became (nan|inf) at step \d+ .*gradient norms of the last steps"
    ):
        run(cfg)
    told = record(only_run(tmp_path))
    assert (told["status"], told["exit_code"]) == ("failed", 1)
    assert told["reason"].startswith("NonFiniteLoss: the ")
    assert rows(only_run(tmp_path), "readings")[0]["step"] == 0


def test_an_unwritable_output_directory_is_named(small: Compose, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match=r"cannot write to .*/file/.*; choose another place with root="):
        run(small(f"root={tmp_path}/file"))


def test_online_without_credentials_fails_before_training(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CredentialsError, match=r"wandb login.*tracking=offline"):
        run(small("tracking=online"))
    assert not list(tmp_path.glob("*/*/metrics.jsonl"))


class Broken(ProbeInstrument):
    """An instrument that fails at its second probe."""

    looks = 0

    def read(self, probe: Probe) -> Measurements:
        Broken.looks += 1
        if Broken.looks > 1:
            raise ZeroDivisionError("second look")
        return {}


def test_an_instrument_that_raises_is_switched_off(small: Compose, caplog: pytest.LogCaptureFixture) -> None:
    Broken.looks = 0
    broken = f"+instruments.readers.broken={{_target_: {__name__}.Broken}}"
    result = run(small(broken, "instruments.every_n_steps=1"))
    assert Broken.looks == 2
    assert record(result.directory)["status"] == "finished"
    told = [
        r for r in caplog.records if "instrument broken failed at step 1 and is switched off" in r.message
    ]
    assert len(told) == 1
    assert {row["step"] for row in rows(result.directory, "readings")} == {0, 1, 2, 3, 4}


def test_a_training_pass_that_cannot_be_read_is_reported_once(
    small: Compose, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: RecurrentStack) -> None:
        raise RuntimeError("no such adjoint")

    monkeypatch.setattr(RecurrentStack, "collect_gradients", fail)
    result = run(small("instruments=full", "instruments.every_n_steps=1"))
    assert record(result.directory)["status"] == "finished"
    told = [r for r in caplog.records if "training_signal failed at step 0 and is switched off" in r.message]
    assert len(told) == 1
    names = {row["name"] for row in rows(result.directory, "readings")}
    assert "gradient_norm/before_clip" in names
    assert not any(name.startswith("training_signal") for name in names)


def test_the_best_checkpoint_is_the_one_tested(small: Compose) -> None:
    result = run(small("trainer.max_epochs=4", "optimizer.lr=0.5"))
    best = torch.load(result.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in result.module.state_dict().items():
        assert torch.equal(value, best[name]), name
    losses = [row["validation/mse"] for row in rows(result.directory) if "validation/mse" in row]
    assert result.monitored == pytest.approx(min(losses))


def test_early_stopping(small: Compose) -> None:
    cfg = small("optimizer.lr=1e-12", "trainer.max_epochs=50", "early_stopping.patience=2")
    result = run(cfg)
    assert result.summary["epochs"] < 50


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (signal.SIGINT, "interrupted", 130),
        pytest.param(signal.SIGTERM, "preempted", 143, marks=pytest.mark.slow),
    ],
)
def test_a_signal_in_the_middle_of_an_epoch(
    tmp_path: Path, sent: signal.Signals, status: str, code: int
) -> None:
    overrides = [*SMALL, *FAST, "tracking=offline", "trainer.max_epochs=100000", f"root={tmp_path}"]
    command = [sys.executable, str(ROOT / "train.py"), *overrides, "instruments=off"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "WANDB_SILENT": "true"}, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 600
        while not any(path.stat().st_size for path in tmp_path.glob("*/*/metrics.jsonl")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    told = record(only_run(tmp_path))
    assert (told["status"], told["exit_code"]) == (status, code)
    assert rows(only_run(tmp_path))
