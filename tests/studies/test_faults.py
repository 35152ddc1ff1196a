"""What can go wrong while a run is under way, done to it for real."""

from __future__ import annotations

import datetime
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import wandb
from conftest import FAST, ROOT, SMALL, Compose
from tracking.records import assert_same, at_step, record, rows

import gatescope.tracking.record
import gatescope.tracking.wandb
from gatescope.cli import job, report_error
from gatescope.run import run
from gatescope.tracking.directory import RecordError
from gatescope.tracking.identity import run_dir

KEEP = "checkpoint.keep=all"
LONG = ("trainer.max_epochs=60", "instruments=off", "model.dropout=0.2", "model.layers=2", KEEP)
Mount = Callable[..., Path]


def train(*words: str, runs: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, *FAST, *words, f"root={runs}"]
    env = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=runs, env=env, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
def test_killed_twice_and_repeated(small: Compose, tmp_path: Path) -> None:
    whole = run(small(*LONG, f"root={tmp_path}/whole")).directory
    cfg = small(*LONG, f"root={tmp_path}")
    last = run_dir(cfg) / "checkpoints" / "last.ckpt"
    chance = random.Random(0)
    for _ in range(2):
        before = last.stat().st_mtime_ns if last.exists() else 0
        process = train(*LONG, "checkpoint.every_n_steps=7", runs=tmp_path)
        while not last.exists() or last.stat().st_mtime_ns == before:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert record(run_dir(cfg))["status"] == "running"
    assert isinstance(job(cfg), float)
    assert_same(whole, run_dir(cfg))
    assert len(record(run_dir(cfg))["resumed"]) == 2


@pytest.mark.slow
def test_two_terminals_share_a_study(tmp_path: Path) -> None:
    words = ("-m", "seed=0,1", "trainer.max_epochs=4", "instruments=off")
    both = [train(*words, runs=tmp_path) for _ in range(2)]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    out = "".join(text for text, _ in told)
    assert out.count("finished: ") == 2
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("*/*/run.json")]
    assert [(one["status"], one["resumed"]) for one in runs] == [("finished", [])] * 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Mount]:
    """`small_disk("4m")` mounts a disk of that size; `small_disk("remount,ro")` changes it."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a small disk is not permitted here: {done.stderr.strip()}")
        return disk

    yield mount
    subprocess.run(["umount", "--lazy", str(disk)], capture_output=True, check=False)


def fill(disk: Path) -> None:
    """Leaves no byte on the disk."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


@pytest.mark.parametrize(
    ("written", "step", "words"),
    [
        (r"(metrics|readings)\.jsonl", 7, ("checkpoint.every_n_steps=3", "instruments=default")),
        (
            r"last\.ckpt",
            5,
            ("checkpoint.every_n_steps=3", "instruments=off", "trainer.log_every_n_steps=1000"),
        ),
    ],
)
def test_a_full_disk(
    small: Compose,
    small_disk: Mount,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    written: str,
    step: int,
    words: tuple[str, ...],
) -> None:
    words = ("trainer.max_epochs=4", KEEP, *words)
    harm = at_step(step, lambda: fill(disk))
    whole = run(small(*words, "instruments.every_n_steps=1", f"root={tmp_path}/whole")).directory
    disk = small_disk("size=4m")
    cfg = small(*words, *harm, f"root={disk}")
    with pytest.raises(RecordError, match=rf"cannot write .*{written}: No space left on device; ") as full:
        run(cfg)
    report_error(full.value)
    assert len(capsys.readouterr().err.splitlines()) == 1
    kept = rows(run_dir(cfg))
    assert kept == rows(whole)[: len(kept)]
    assert kept[-1]["step"] >= 3
    (disk / "filler").unlink()
    at_step(-1, lambda: None)
    assert_same(whole, run(cfg).directory)
    assert [one["step"] for one in record(run_dir(cfg))["resumed"]] == [step // 3 * 3]


def test_a_read_only_disk(small: Compose, small_disk: Mount) -> None:
    disk = small_disk("size=4m")
    done, missing = small(f"root={disk}"), small(f"root={disk}", "seed=1")
    result = run(done)
    small_disk("remount,ro")
    assert job(done) == result.monitored
    with pytest.raises(RecordError, match=r"cannot write to .*: Read-only file system; choose another place"):
        run(missing)


def test_a_clock_that_jumps_back(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = datetime.timedelta(days=1)

    class Behind(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.now(tz) - behind

    real = time.time

    def jump() -> None:
        monkeypatch.setattr(gatescope.tracking.record, "datetime", Behind)
        monkeypatch.setattr(time, "time", lambda: real() - behind.total_seconds())

    result = run(small("trainer.max_epochs=2", "checkpoint.every_seconds=0.001", *at_step(3, jump)))
    told = record(result.directory)
    assert told["ended"] < told["started"]
    assert 0 < told["seconds"] < behind.total_seconds()
    lines = (result.directory / "metrics.jsonl").read_text().splitlines()
    times = [json.loads(line)["time"] for line in lines]
    assert times == sorted(times)
    assert times[-1] <= told["seconds"]
    assert result.summary["seconds_per_epoch"] > 0


def kill_wandb() -> None:
    killed = [p for p in psutil.Process().children(recursive=True) if "wandb-core" in " ".join(p.cmdline())]
    assert killed
    for process in killed:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_service_of_wandb_dies(
    small: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    words = ("instruments.every_n_steps=1", "trainer.max_epochs=2", KEEP)
    whole = run(small(*words, f"root={tmp_path}/whole")).directory
    offline = small(*words, "tracking=offline", *at_step(3, kill_wandb))
    with caplog.at_level(logging.WARNING):
        assert_same(whole, run(offline).directory)
    assert caplog.text.count("W&B failed") == 1
    caplog.clear()
    at_step(-1, lambda: None)
    after = run(small(*words, "tracking=offline", "seed=1")).directory
    assert "W&B failed" not in caplog.text
    assert list(after.parent.glob(f"wandb/offline-run-*{after.name}/*.wandb"))


def test_wandb_out_of_reach(
    small: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(gatescope.tracking.wandb, "INIT_SECONDS", 2.0)
    monkeypatch.setattr(gatescope.tracking.wandb, "is_dead", lambda: None)  # of an earlier test
    result = run(small("tracking=online"))
    assert record(result.directory)["status"] == "finished"
    assert caplog.text.count("W&B cannot be used") == 1
    wandb.teardown()  # forgets the key
    assert list(result.directory.parent.glob(f"wandb/offline-run-*{result.directory.name}/*.wandb"))


def test_signals_before_training_end_the_run_at_once(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def preempted(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("gatescope.run.load_data", preempted)
    started = time.monotonic()
    with pytest.raises(SystemExit):
        run(small())
    assert time.monotonic() - started < 5
    (told,) = [json.loads(p.read_text()) for p in Path(small().root).glob("*/*/run.json")]
    assert (told["status"], told["exit_code"]) == ("preempted", 143)
