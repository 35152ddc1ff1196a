"""Two processes give the results of one; a failing rank ends its run and no other."""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
from conftest import Compose
from studies.processes import ended, ranks_of, runs_of, start, wait_for
from tracking.records import rows

from gatescope import cli, distributed
from gatescope.config import ConfigError
from gatescope.devices import device_count
from gatescope.distributed import RankFailed, spread
from gatescope.models.encoder import Encoder
from gatescope.run import run
from gatescope.tracking import predictions

TWO = ("trainer=ddp_cpu", "trainer.max_epochs=2")
# 15 is split into 8 and 7; 31 leaves a last batch of one example, which is added to the previous batch.
UNEVEN = ("data.train=70", "data.validation=30", "data.test=31", "data.batch_size=15")


def assert_near(one: Any, two: Any, where: str) -> None:
    """Check equality, of numbers up to 1e-5."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_near(one[key], two[key], f"{where} {key}")
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for x, y in zip(one, two, strict=True):
            assert_near(x, y, where)
    elif isinstance(one, float):
        assert math.isclose(one, two, rel_tol=1e-5, abs_tol=1e-5), f"{where}: {one}, {two}"
    else:
        assert one == two, where


def test_two_processes_give_the_measurements_of_one(small: Compose, tmp_path: Path) -> None:
    settings = (*UNEVEN, "trainer.max_epochs=2", "attention=additive", "instruments.every_n_steps=1")
    one = run(small(*settings, f"root={tmp_path}/one"))
    cfg = small("trainer=ddp_cpu", *settings, f"root={tmp_path}/two", "tracking=offline")
    two = spread(cfg, device_count(cfg))
    assert one.directory.name == two.directory.name
    for name in ("metrics", "readings"):
        mine, theirs = rows(one.directory, name), rows(two.directory, name)
        assert len(mine) == len(theirs)
        for x, y in zip(mine, theirs, strict=True):
            assert_near(x, y, f"step {x['step']} {x.get('name', name)}")
    assert {"gate", "gradient_norm", "gradient_flow"} <= {
        row["name"].split("/")[0].removesuffix("s") for row in rows(two.directory, "readings")
    }
    assert two.monitored == pytest.approx(one.monitored, rel=1e-5)
    kept = [predictions.read(r.directory / "predictions.csv") for r in (one, two)]
    assert list(kept[1].id) == list(range(31))
    pd.testing.assert_frame_equal(*kept, rtol=1e-4, atol=1e-5)
    best = [torch.load(r.directory / "checkpoints" / "best.ckpt", weights_only=True) for r in (one, two)]
    for name, value in best[0]["state_dict"].items():
        torch.testing.assert_close(value, best[1]["state_dict"][name], rtol=1e-5, atol=1e-6)
    assert len(list((tmp_path / "two").rglob("*.wandb"))) == 1
    (told,) = runs_of(tmp_path / "two")
    assert told["status"] == "finished"
    assert "trainer=ddp_cpu" not in told["command"]  # the job's own command line, here pytest's


@pytest.mark.slow
def test_a_sweep_of_runs_on_two_processes_and_a_run_of_it_that_fails(tmp_path: Path) -> None:
    words = ("-m", *TWO, "instruments=off", "optimizer=sgd", "optimizer.lr=0.01,1e30")
    code, out, errors = ended(start(*words, "trainer.gradient_clip_val=null", runs=tmp_path))
    assert code == cli.FAILED
    told = {run["status"]: run for run in runs_of(tmp_path)}
    assert set(told) == {"finished", "failed"}
    assert told["failed"]["reason"].startswith("rank ")
    assert "NonFiniteLoss: the train loss became" in told["failed"]["reason"]
    assert told["failed"]["reason"] in out
    assert "1 of 2 runs failed" in errors
    links = {link.name: link.resolve() for link in tmp_path.glob("*/by_name/*")}
    assert set(links) == {"gru-none lr=0.01 s0", "gru-none lr=1e+30 s0"}
    assert links["gru-none lr=0.01 s0"].name == told["finished"]["run_id"]
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "status", "code", "reason"),
    [
        ("kill rank 1", "failed", 1, "rank 1: Signal 9 (SIGKILL)"),
        pytest.param("SIGTERM", "preempted", 143, "SIGTERM", marks=pytest.mark.slow),
        pytest.param("kill the job", "running", -9, None, marks=pytest.mark.slow),
    ],
)
def test_a_run_on_two_processes_that_is_stopped(
    tmp_path: Path, what: str, status: str, code: int, reason: str | None
) -> None:
    process = start(*TWO, "trainer.max_epochs=100000", "instruments=off", runs=tmp_path)
    wait_for(lambda: list(tmp_path.glob("*/*/metrics.jsonl")), process)
    ranks = ranks_of(process)
    assert len(ranks) == 2
    if what == "kill rank 1":
        ranks[1].kill()
    elif what == "kill the job":
        process.kill()
    else:
        process.send_signal(signal.SIGTERM)
    ended_with, _, errors = ended(process)
    assert ended_with == code, errors
    (told,) = runs_of(tmp_path)
    assert told["status"] == status
    assert (told["reason"] or "").startswith(reason or "")
    for rank in ranks:
        rank.wait(timeout=20)
    saved = list(tmp_path.glob("*/*/checkpoints/last.ckpt"))
    assert bool(saved) == (status == "preempted")


def test_the_model_is_compiled_if_configured(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Encoder] = []
    monkeypatch.setattr(Encoder, "compile", lambda model: compiled.append(model))
    module = run(small("trainer.compile=true", "instruments=off")).module
    assert module is not None
    assert compiled == [module.model]


def test_run_refuses_several_devices(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"distributed\.spread"):
        run(small("trainer=ddp_cpu"))
    monkeypatch.setitem(os.environ, "TORCHELASTIC_RUN_ID", "mine")
    with pytest.raises(ConfigError, match="starts torchrun itself"):
        distributed.refuse_foreign_torchrun()


@pytest.mark.slow
def test_a_bug_in_a_rank_is_printed_with_its_traceback(
    small: Compose, capfd: pytest.CaptureFixture[str]
) -> None:
    zero = "{_target_: torch.optim.lr_scheduler.StepLR, _partial_: true, step_size: 0}"
    cfg = small("trainer=ddp_cpu", "instruments=off", f"+scheduler={zero}")
    with pytest.raises(RankFailed, match=r"^rank [01]: ZeroDivisionError: "):
        spread(cfg, 2)
    assert "Traceback" in capfd.readouterr().err


def test_nothing_listens_on_an_interface_that_others_reach(tmp_path: Path) -> None:
    """torch's stores trust whoever connects: launcher and ranks listen on the loopback address at most."""
    process = start(*TWO, "trainer.max_epochs=8", runs=tmp_path)
    addresses: set[str] = set()
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            with suppress(psutil.Error):  # it has ended
                addresses |= {c.laddr.ip for c in one.net_connections("inet") if c.status == "LISTEN"}
        time.sleep(0.02)
    code, _, errors = ended(process)
    assert code == 0, errors
    assert addresses == {"127.0.0.1"}
