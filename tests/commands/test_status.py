"""scripts/status.py: a study's runs as their records and locks tell, while they go on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose
from omegaconf import OmegaConf

from gatescope.commands import status
from gatescope.tracking.directory import is_locked, run_lock
from gatescope.tracking.identity import run_dir

WORDS = ("recipe=none", "model=gru,lstm", "seed=0,1,2,3")


@pytest.fixture
def written(config: Compose) -> Iterator[Any]:
    """`written("gru", 0, "finished", …)` leaves the record of a run; `at_work` holds it."""
    with ExitStack() as holding:

        def write(model: str, seed: int, state: str, at_work: bool = False, **fields: Any) -> Path:
            directory = run_dir(config(f"model={model}", f"seed={seed}"))
            directory.mkdir(parents=True)
            run = {"status": state, "seconds": None, "summary": {}, "task": {"metric": "accuracy"}, **fields}
            (directory / "run.json").write_text(json.dumps(run))
            if at_work:
                assert holding.enter_context(run_lock(directory))
            return directory

        yield write


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    lines = [line.split() for line in text.splitlines()]
    return {(words[0], words[1]): words[2:] for words in lines if words and words[0].endswith("-none")}


def test_every_run_of_the_grid_with_its_state_and_the_time_left(
    written: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = {"seconds": 100.0, "summary": {"test/accuracy": 0.75}}
    written("gru", 0, "finished", **done)
    written("lstm", 0, "finished", **done | {"seconds": 200.0})
    at_work = written("gru", 1, "running", at_work=True)
    (at_work / "metrics.jsonl").write_text('{"step": 1, "time": 20.0}\n{"step": 2, "time": 30.0}\n{"st')
    written("lstm", 1, "running", at_work=True)
    written("gru", 2, "running")
    written("gru", 3, "failed", seconds=5.0, reason="NonFiniteLoss: at step 3")
    written("lstm", 2, "preempted", seconds=50.0, reason="SIGTERM")
    assert status.main([*WORDS, f"root={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert rows(out) == {
        ("gru-none", "0"): ["finished", "test/accuracy", "0.7500", "100.0"],
        ("gru-none", "1"): ["running", "30.0"],
        ("gru-none", "2"): ["stale", "0.0"],
        ("gru-none", "3"): ["failed", "5.0"],
        ("lstm-none", "0"): ["finished", "test/accuracy", "0.7500", "200.0"],
        ("lstm-none", "1"): ["running", "0.0"],
        ("lstm-none", "2"): ["preempted", "0.0"],
        ("lstm-none", "3"): ["missing"],
    }
    assert "gru-none, seed 3, failed: NonFiniteLoss: at step 3" in out
    assert "lstm-none, seed 2, preempted: SIGTERM" in out
    assert "gru-none, seed 2, stale: killed; the same command goes on" in out
    counts = "8 runs: 2 finished, 2 running, 1 stale, 1 failed, 1 preempted, 1 missing"
    # (70 + 100 + 100) of the gru and (200 + 200 + 200) of the lstm, two at once
    assert out.splitlines()[-1] == f"{counts}; time left: about 0:07:15"


def test_a_study_is_the_grid_that_train_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["study=first_light", "seed=0", f"root={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "6 runs: 6 missing; time left: unknown until a run is finished"
    assert "lstm-additive" in out


def test_runs_of_a_study_outside_its_grid_come_last(
    config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["model=tfidf_logistic", "attention=none"], ["model=gru", "attention=none", "seed=7"]):
        cfg = config("study=first_light", *words)
        directory = run_dir(cfg)
        directory.mkdir(parents=True)
        (directory / "run.json").write_text(json.dumps({"status": "finished", "seconds": 1.0}))
        (directory / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    assert status.main(["study=first_light", "seed=0,1", f"root={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("also in the folder of the study:")
    assert place == 1 + 12
    assert [line.split()[:3] for line in lines[place + 1 : -1]] == [
        ["gru-none", "7", "finished"],
        ["tfidf_logistic", "0", "finished"],
    ]
    assert lines[-1].startswith("12 runs: 12 missing;")  # the grid alone
    # Words that name no study ask for a few runs of many.
    assert status.main(["model=gru", "seed=0", f"root={tmp_path}"]) == 0
    assert "also" not in capsys.readouterr().out


def test_the_folder_of_a_sweep_without_a_file_has_its_runs_in_the_order_of_the_report(
    config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, seed, rate in (
        ("lstm", 0, 0.1),
        ("gru", 1, 0.01),
        ("gru", 0, 0.1),
        ("rnn", 0, 0.1),
        ("gru", 0, 0.01),
    ):
        cfg = config(f"model={model}", f"seed={seed}", f"optimizer.lr={rate}", "study.name=mine")
        directory = run_dir(cfg)
        directory.mkdir(parents=True)
        (directory / "run.json").write_text(json.dumps({"status": "finished", "seconds": 1.0}))
        (directory / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    assert status.main(["study=mine", f"root={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:-1]] == [
        ["gru-none", "lr=0.01", "0"],
        ["gru-none", "lr=0.01", "1"],
        ["rnn-none", "lr=0.1", "0"],
        ["gru-none", "lr=0.1", "0"],
        ["lstm-none", "lr=0.1", "0"],
    ]
    assert lines[-1] == "5 runs: 5 finished"
    assert status.main(["study=mien", f"root={tmp_path}"]) == 2
    assert "studies with runs in" in (error := capsys.readouterr().err)
    assert error.rstrip().endswith(": mine")


def test_wrong_words_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["study=first_ligth"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("status: study=first_ligth: unknown option, did you mean study=first_light?")
    assert told.out == ""


def test_watch_shows_a_bar_until_all_is_finished(
    written: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written("gru", 0, "finished", seconds=1.0)
    directory = written("gru", 1, "running")

    def finish(_: float) -> None:
        (directory / "run.json").write_text(json.dumps({"status": "finished", "seconds": 1.0}))

    monkeypatch.setattr(time, "sleep", finish)
    assert status.main(["recipe=none", "seed=0,1", f"root={tmp_path}", "--watch"]) == 0
    told = capsys.readouterr()
    assert "1/2" in told.err
    assert "2/2" in told.err
    assert told.out.splitlines()[-1] == "2 runs: 2 finished"


def test_looking_takes_no_run_from_one_who_starts(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "none")
    stop = threading.Event()

    def keep_looking() -> None:
        while not stop.is_set():
            is_locked(tmp_path)

    looking = threading.Thread(target=keep_looking)
    with run_lock(tmp_path):
        assert is_locked(tmp_path)
    looking.start()
    try:
        for _ in range(50):
            with run_lock(tmp_path) as mine:
                assert mine
    finally:
        stop.set()
        looking.join()
    assert not is_locked(tmp_path)


def test_no_torch_is_loaded() -> None:
    code = "import sys, gatescope.commands.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
