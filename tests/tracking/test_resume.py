"""A stopped run continues as if it had not been stopped: bit-equal weights and the same record."""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Compose
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from tracking.records import assert_same, at_step, record, rows, send, stop_at

from gatescope.cli import report_error
from gatescope.config import ConfigError
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.generated.adding import Adding
from gatescope.data.ragged import Ragged
from gatescope.loading import load
from gatescope.run import load_data, run
from gatescope.tracking.checkpoint_files import find_checkpoint
from gatescope.tracking.directory import RecordError, write_atomically
from gatescope.tracking.identity import run_dir, run_id

Stopped = Callable[..., Path]
HARD = (
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=2",
    "model.dropout=0.3",
    "model.layers=2",
    "checkpoint.every_n_steps=1",
    "checkpoint.keep=all",
)
"""Three epochs of four steps that use torch's random generator, with a checkpoint after each step."""


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    """Return a function that runs a config until a number of checkpoints was written."""

    return partial(stop_at, monkeypatch)


@pytest.mark.parametrize(
    ("overrides", "checkpoints"),
    [
        ([], (1, 3, 4, 6, 12)),  # in the first epoch, at its end, between two, in the second, before the test
        (["scheduler=plateau", "scheduler.patience=0"], (5, 9)),
        pytest.param(["scheduler=cosine", "scheduler.warmup=0.5"], (2, 7), marks=pytest.mark.slow),
        pytest.param(["+trainer.val_check_interval=2"], (2, 6), marks=pytest.mark.slow),
        pytest.param(["trainer.max_epochs=-1", "trainer.max_steps=10"], (4, 9), marks=pytest.mark.slow),
        pytest.param(["+trainer.accumulate_grad_batches=2"], (1, 2), marks=pytest.mark.slow),
        pytest.param(["early_stopping.patience=1", "optimizer.lr=1e-12"], (5, 8), marks=pytest.mark.slow),
        pytest.param(["data.workers=1"], (4, 6), marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_has_the_same_weights_and_record(
    small: Compose, tmp_path: Path, stopped: Stopped, overrides: list[str], checkpoints: tuple[int, ...]
) -> None:
    whole = run(small(*HARD, *overrides, f"root={tmp_path}/whole")).directory
    for checkpoint in checkpoints:
        cfg = small(*HARD, *overrides, f"root={tmp_path}/{checkpoint}")
        stopped(cfg, checkpoint)
        assert_same(whole, run(cfg).directory)
        assert len(record(run_dir(cfg))["resumed"]) == 1


@pytest.mark.slow
def test_a_run_that_is_stopped_repeatedly(small: Compose, tmp_path: Path, stopped: Stopped) -> None:
    whole = run(small(*HARD, f"root={tmp_path}/whole")).directory
    cfg = small(*HARD, f"root={tmp_path}/halting")
    for _ in range(3):
        stopped(cfg, 2)
    assert_same(whole, run(cfg).directory)
    assert [one["step"] for one in record(run_dir(cfg))["resumed"]] == [2, 4, 6]


def test_steps_after_the_last_checkpoint_are_repeated_and_recorded_once(
    small: Compose, tmp_path: Path
) -> None:
    whole = run(small(*HARD, "instruments.every_n_steps=1", f"root={tmp_path}/whole")).directory
    cfg = small(
        *HARD, "checkpoint.every_n_steps=5", f"root={tmp_path}/stopped", *at_step(9, send(signal.SIGINT))
    )
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    with (run_dir(cfg) / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "tr')
    at_step(0, lambda: None)
    assert_same(whole, run(cfg).directory)
    assert [one["step"] for one in record(run_dir(cfg))["resumed"]] == [5]


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [6, 8, 12])  # within an epoch, at the end of one, at the end of training
def test_preemption_loses_nothing(small: Compose, tmp_path: Path, sent: signal.Signals, step: int) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    never = ("checkpoint.every_n_steps=null", "checkpoint.every_seconds=null", "instruments.every_n_steps=1")
    whole = run(small(*HARD, *never, f"root={tmp_path}/whole")).directory
    cfg = small(*HARD, *never, f"root={tmp_path}/stopped", *at_step(step, send(sent)))
    with pytest.raises(SIGTERMException):
        run(cfg)
    told = record(run_dir(cfg))
    assert (told["status"], told["exit_code"], told["reason"]) == ("preempted", 143, sent.name)
    at_step(0, lambda: None)
    assert_same(whole, run(cfg).directory)
    assert [one["step"] for one in record(run_dir(cfg))["resumed"]] == [step]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == handlers


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        pytest.param(flip_a_byte, marks=pytest.mark.slow),
        pytest.param(empty, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("damaged", [["last.ckpt"], ["last.ckpt", "last-1.ckpt"]])
def test_a_damaged_checkpoint_is_renamed_and_the_previous_one_used(
    small: Compose,
    tmp_path: Path,
    stopped: Stopped,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    damaged: list[str],
) -> None:
    whole = run(small(*HARD, f"root={tmp_path}/whole")).directory
    cfg = small(*HARD, f"root={tmp_path}/damaged")
    directory = stopped(cfg, 6)
    for name in damaged:
        damage(directory / "checkpoints" / name)
    with caplog.at_level(logging.WARNING):
        assert_same(whole, run(cfg).directory)
    for name in damaged:
        assert f"{directory / 'checkpoints' / name} cannot be used" in caplog.text
        assert (directory / "checkpoints" / f"{name}.broken").exists()
    resumed = [one["step"] for one in record(directory)["resumed"]]
    assert resumed == ([5] if len(damaged) == 1 else [])


def test_a_checkpoint_is_not_used_if_the_record_is_shorter(
    small: Compose, stopped: Stopped, caplog: pytest.LogCaptureFixture
) -> None:
    directory = stopped(small(*HARD), 6)
    (directory / "metrics.jsonl").write_text("")
    assert find_checkpoint(directory) is None
    assert caplog.text.count("metrics.jsonl is shorter than when it was saved") == 2


def other_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the generated data, as another version would, without changing the config."""
    build = Adding.build

    def built(self: Adding) -> Splits:
        splits = build(self)
        assert isinstance(splits.test.inputs, Ragged)
        splits.test.inputs.flat.mul_(2)
        return splits

    monkeypatch.setattr(Adding, "build", built)


def test_a_checkpoint_of_other_data_is_not_continued(
    small: Compose, stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = stopped(small(*HARD), 6)
    other_data(monkeypatch)
    with pytest.raises(
        DataError, match=r"started with other data \(test split: other inputs\).*force=true"
    ) as caught:
        run(small(*HARD))
    assert report_error(caught.value) == 2
    told = record(directory)
    assert (told["status"], told["exit_code"]) == ("failed", 2)
    assert "test/mse" not in told["summary"]
    result = run(small(*HARD, "force=true"))
    assert record(result.directory)["resumed"] == []
    assert "test/mse" in result.summary


def test_weights_of_other_data_are_not_tested(small: Compose) -> None:
    result = run(small())
    best = result.directory / "checkpoints" / "best.ckpt"
    other = load_data(small("data.seed=1"))
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    assert result.module is not None
    with pytest.raises(DataError, match=r"train split: other inputs and targets; .*test split: other inputs"):
        trainer.test(result.module, datamodule=other, ckpt_path=best, verbose=False)


def test_a_checkpoint_without_data_identity_is_not_continued(small: Compose, stopped: Stopped) -> None:
    path = stopped(small(*HARD), 6) / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    del saved["data"]
    torch.save(saved, path)
    with pytest.raises(DataError, match=r"by an older version.*force=true"):
        run(small(*HARD))


def test_force_starts_again(small: Compose, tmp_path: Path, stopped: Stopped) -> None:
    whole = run(small(*HARD, f"root={tmp_path}/whole")).directory
    directory = stopped(small(*HARD, f"root={tmp_path}/b"), 6)
    assert_same(whole, run(small(*HARD, f"root={tmp_path}/b", "force=true")).directory)
    assert record(directory)["resumed"] == []


@pytest.mark.slow
def test_a_run_continues_after_its_directory_was_moved(
    small: Compose, tmp_path: Path, stopped: Stopped
) -> None:
    whole = run(small(*HARD, f"root={tmp_path}/whole")).directory
    stopped(small(*HARD, f"root={tmp_path}/here"), 6)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert_same(whole, run(small(*HARD, f"root={tmp_path}/there")).directory)
    assert not (tmp_path / "here").exists()


def test_a_best_checkpoint_of_repeated_steps_is_replaced(
    small: Compose, tmp_path: Path, stopped: Stopped
) -> None:
    cfg = small(*HARD, f"root={tmp_path}/b")
    best = stopped(cfg, 6) / "checkpoints" / "best.ckpt"
    kept = torch.load(best, weights_only=True)["state_dict"]
    best.write_bytes(b"from a later step")
    module = stopped(cfg, 1) / "checkpoints" / "best.ckpt"
    found = torch.load(module, weights_only=True)["state_dict"]
    assert all(torch.equal(kept[name], found[name]) for name in kept)


def test_seconds_exclude_the_time_between_stop_and_resume(small: Compose, stopped: Stopped) -> None:
    cfg = small(*HARD)
    directory = stopped(cfg, 6)
    before = [row for row in (directory / "metrics.jsonl").read_text().splitlines()]
    assert before
    run(cfg)
    assert rows(directory)
    times = [line.split('"time": ')[1] for line in (directory / "metrics.jsonl").read_text().splitlines()]
    seconds = [float(text.split(",")[0].rstrip("}")) for text in times]
    assert seconds == sorted(seconds)
    assert record(directory)["seconds"] >= seconds[-1]


def test_checkpoint_intervals_are_no_part_of_the_identity(small: Compose) -> None:
    assert run_id(small()) == run_id(small("checkpoint.every_n_steps=7", "checkpoint.every_seconds=1.5"))


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ((), {"best.ckpt"}),
        (("checkpoint.keep=all",), {"best.ckpt", "last.ckpt", "last-1.ckpt"}),
        (("trainer.limit_val_batches=0",), {"last.ckpt"}),  # without a validation there is no best one
    ],
)
def test_a_finished_run_keeps_the_weights_that_were_tested(
    small: Compose, words: tuple[str, ...], kept: set[str]
) -> None:
    words = tuple(f"+{word}" if word.startswith("trainer") else word for word in words)
    cfg = small("checkpoint.every_n_steps=2", *words)
    (run_dir(cfg) / "checkpoints").mkdir(parents=True)
    (run_dir(cfg) / "checkpoints" / ".last.ckpt.12345").write_bytes(b"incomplete file of a killed process")
    directory = run(cfg).directory
    assert {path.name for path in (directory / "checkpoints").iterdir()} == kept
    assert load(directory).model is not None


def test_checkpoint_keep_has_two_values(small: Compose) -> None:
    with pytest.raises(ConfigError, match=r'checkpoint\.keep: given "none", allowed: .best. or .all.'):
        run(small("checkpoint.keep=none"))


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_atomically(path, b"first")
    write_atomically(path, b"second", previous=tmp_path / "last-1.ckpt")
    assert [p.read_bytes() for p in (path, tmp_path / "last-1.ckpt")] == [b"second", b"first"]
    (tmp_path / "file").touch()
    with pytest.raises(
        RecordError, match=r"cannot write .*/file/last.ckpt: .*; earlier rows and checkpoints are kept"
    ):
        write_atomically(tmp_path / "file" / "last.ckpt", b"third")
    assert {p.name for p in tmp_path.iterdir()} == {"last.ckpt", "last-1.ckpt", "file"}
