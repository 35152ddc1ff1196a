"""The sweeper, with a task that only writes what a run writes."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from gatescope.config import ConfigError
from gatescope.overrides import quoted
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import SweepFailed

CONF = Path(__file__).parents[2] / "conf"
Sweep = Callable[..., list[str]]


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """`sweep("model=rnn,gru", …, fails={"rnn"})` sweeps and returns the jobs that ran, as "model seed"."""
    version.setbase("1.3")
    handlers = logging.getLogger().handlers[:]

    def swept(*overrides: str, fails: frozenset[str] = frozenset(), begun: bool = True) -> list[str]:
        ran.clear()
        names.clear()

        def task(cfg: DictConfig) -> None:
            name = f"{cfg.model.name} {cfg.seed}"
            ran.append(name)
            names.append(cfg.tracking.name)
            failed = name in fails
            if begun or not failed:
                write(cfg, failed)
            if failed:
                raise ValueError("the loss became nan at step 3\nand more")

        hydra = Hydra.create_main_hydra2("train", create_config_search_path(str(CONF)))
        try:
            swept.returns = hydra.multirun("config", task, [f"root={tmp_path}", "recipe=none", *overrides])  # type: ignore[attr-defined]
        finally:
            GlobalHydra.instance().clear()
        return list(ran)

    ran: list[str] = []
    names: list[str] = []
    swept.ran, swept.names = ran, names  # type: ignore[attr-defined]
    yield swept
    logging.getLogger().handlers[:] = handlers


def write(cfg: DictConfig, failed: bool) -> None:
    run = {
        "status": "failed" if failed else "finished",
        "reason": "ValueError: nan at step 3" if failed else None,
        "seconds": 1.25,
        "task": {"metric": "accuracy"},
        "summary": {} if failed else {"test/accuracy": 0.75, "best/validation/accuracy": 0.5},
    }
    (run_dir(cfg) / "run.json").write_text(json.dumps(run))


def rows(text: str) -> list[list[str]]:
    """The lines of the table below its head, as words."""
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("variant"))
    end = next(i for i, line in enumerate(lines) if line.startswith("next: "))
    return [line.split() for line in lines[head + 1 : end]]


def test_every_job_of_the_grid_runs_once_and_stands_in_the_table(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert sweep("model=rnn,gru", "seed=0,1") == ["rnn 0", "rnn 1", "gru 0", "gru 1"]
    out = capsys.readouterr().out
    started = [line for line in out.splitlines() if re.match(r"run \d of", line)]
    assert [line.split(" (about")[0] for line in started] == [
        f"run {place} of 4: {name}"
        for place, name in enumerate(("rnn-none s0", "rnn-none s1", "gru-none s0", "gru-none s1"), 1)
    ]
    assert started[1].endswith(" (about 0:00:04 left)"), "three runs of 1.25 seconds"
    assert out.splitlines()[-1].endswith("study=default root=" + str(tmp_path))
    assert rows(out) == [
        [f"{model}-none", str(seed), "finished", "test/accuracy", "0.7500", "1.2"]
        for model in ("rnn", "gru")
        for seed in (0, 1)
    ]


def test_the_same_command_again_runs_only_what_is_missing(sweep: Sweep) -> None:
    with pytest.raises(SweepFailed, match="1 of 3 runs failed"):
        sweep("seed=0,1,2", fails=frozenset({"gru 1"}))
    assert sweep("seed=0,1,2,3") == ["gru 1", "gru 3"]
    assert sweep("seed=0,1,2,3") == []
    assert sweep("seed=0,1,2,3", "force=true") == ["gru 0", "gru 1", "gru 2", "gru 3"]


@pytest.mark.parametrize("begun", [True, False])
def test_a_failure_stops_no_other_job_and_is_named_with_its_reason(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], begun: bool
) -> None:
    with pytest.raises(SweepFailed):
        sweep("seed=0,1", fails=frozenset({"gru 0"}), begun=begun)
    assert sweep.ran == ["gru 0", "gru 1"]  # type: ignore[attr-defined]
    out = capsys.readouterr().out
    first, second, failure = rows(out)[:3]
    assert first[2] == "failed"
    assert second[2] == "finished"
    assert " ".join(failure).startswith("gru-none, seed 0, failed:")
    assert ("ValueError: nan at step 3" if begun else "the loss became nan at step 3") in out


def test_one_invalid_job_and_none_is_started(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        sweep("model.hidden_size=8,0", "seed=0,-1")
    assert sweep.ran == []  # type: ignore[attr-defined]
    head, *problems = refused.value.problems
    assert head == "3 of 4 jobs are invalid, none started:"
    assert any("model.hidden_size: given 0" in p and "and 1 more" in p for p in problems)
    assert any("seed: given -1" in p for p in problems)
    assert not list(tmp_path.rglob("run.json"))


def test_what_is_swept_besides_the_variant_stands_in_its_label(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep("optimizer.lr=0.1,0.2", "model.layers=1")
    assert [row[:2] for row in rows(capsys.readouterr().out)] == [
        ["gru-none", "lr=0.1"],
        ["gru-none", "lr=0.2"],
    ]


@pytest.mark.slow
def test_a_run_is_named_on_wandb_by_what_tells_it_apart(sweep: Sweep) -> None:
    sweep("model=rnn,gru", "optimizer.lr=0.1,0.2", "seed=0")
    assert sweep.names == [  # type: ignore[attr-defined]
        f"{model}-none lr={rate} s0" for model in ("rnn", "gru") for rate in (0.1, 0.2)
    ]
    sweep("seed=1,2", "tracking.name=mine")
    assert sweep.names == ["mine", "mine"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["it's {a}, b=[1]", "a\\'b \\ c", "x: #y", "null", "", "ends in \\\\"])
def test_any_text_is_one_value_of_an_override(text: str) -> None:
    parsed = OverridesParser.create().parse_override(f"a={quoted(text)}")
    assert str(parsed.value()) == text


def test_jobs_that_are_the_same_run_run_once(sweep: Sweep) -> None:
    assert sweep("optimizer.lr=0.1,1e-1") == ["gru 0"]


@pytest.mark.parametrize("key", ["data.workers=0,1", "trainer=cpu,ddp_cpu"])
def test_a_sweep_over_what_changes_no_result_is_refused(sweep: Sweep, tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key.split('=')[0]}: given .* cannot change the result of a run"):
        sweep(key, "seed=0,1")
    assert sweep.ran == []  # type: ignore[attr-defined]
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize("key", ["kernel=torch,auto", "+trainer.min_epochs=1,8"])
def test_what_may_change_a_result_is_a_run_of_its_own(sweep: Sweep, key: str) -> None:
    assert sweep(key) == ["gru 0", "gru 0"]


def test_a_study_needs_no_further_flag_and_the_command_line_wins(sweep: Sweep) -> None:
    ran = sweep("study=first_light", "seed=5", "attention=none")
    assert sorted(ran) == ["gru 5", "lstm 5", "rnn 5"]


def test_each_job_returns_its_metric_in_the_order_of_the_grid(sweep: Sweep) -> None:
    sweep("seed=1")
    sweep("seed=0,1,2", fails=frozenset())
    assert sweep.ran == ["gru 0", "gru 2"]  # type: ignore[attr-defined]
    assert [r.return_value for r in sweep.returns] == [None, 0.5, None]  # type: ignore[attr-defined]
    assert [r.overrides for r in sweep.returns][1][-1:] == ["seed=1"]  # type: ignore[attr-defined]


HOLDER = """
import sys, time; from pathlib import Path; from gatescope.tracking.directory import run_lock
directory = Path(sys.argv[1])
with run_lock(directory):
    print("held", flush=True)
    sys.stdin.readline()
    (directory / "run.json").write_text(sys.argv[2])
"""


def test_a_run_under_way_elsewhere_comes_last_and_is_waited_for(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep("seed=0,1")
    first = next(tmp_path.glob("default/gru-none-*-s0-*"))
    told = json.loads((first / "run.json").read_text())
    for path in tmp_path.glob("default/*/run.json"):
        path.unlink()
    told["summary"]["best/validation/accuracy"] = 0.625
    command = [sys.executable, "-c", HOLDER, str(first), json.dumps(told)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"

        def goes_on(_: float) -> None:
            if not holder.stdin.closed:  # type: ignore[union-attr]
                assert sweep.ran == ["gru 1"]  # type: ignore[attr-defined]
                holder.stdin.close()  # type: ignore[union-attr]
            holder.wait()

        monkeypatch.setattr(time, "sleep", goes_on)
        said: list[str] = []
        logger = logging.getLogger("hydra_plugins.gatescope_sweeper.sweeper")
        monkeypatch.setattr(logger, "info", lambda *words: said.append(words[0] % words[1:]))
        assert sweep("seed=0,1") == ["gru 1"]
    assert said.count("1 runs are under way in another process: waiting until they end") == 1
    assert [r.return_value for r in sweep.returns] == [0.625, None]  # type: ignore[attr-defined]


@pytest.fixture
def speakers(tmp_path: Path) -> Path:
    """A file of texts by three speakers."""
    path = tmp_path / "mine.csv"
    rows = (f"text number {i},{'pn'[i % 2]},speaker{i % 3}\n" for i in range(60))
    path.write_text("text,label,speaker\n" + "".join(rows))
    return path


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (
            "data.folds=groups data.fold=0,1,2,3,4,5",
            "data.fold: given 5, allowed: 0 to 2, one for each group",
        ),
        ("data.folds=5 data.fold=0,1,2,3,4", "data.folds: given 5, and there are only 3 group"),
    ],
)
def test_folds_beyond_the_groups_are_named_once_before_the_first_job(
    sweep: Sweep, speakers: Path, folds: str, message: str
) -> None:
    words = ("data=text_file", f"data.path={quoted(str(speakers))}", "data.group=speaker")
    with pytest.raises(ConfigError, match="none of the jobs was started") as caught:
        sweep(*words, *folds.split(), "model=rnn,gru", "seed=0,1")
    assert sweep.ran == []  # type: ignore[attr-defined]
    assert len(caught.value.problems) == 2
    assert message in caught.value.problems[1]
    assert len(sweep(*words, "data.folds=groups", "data.fold=0,1,2", "model=rnn")) == 3


def test_a_metric_that_is_not_recorded_is_named_once_before_the_first_job(sweep: Sweep) -> None:
    words = ("data=adding", "data.train=64", "data.validation=32", "data.test=32", "seed=0,1")
    with pytest.raises(ConfigError) as caught:
        sweep(*words, "monitor=r2")
    assert sweep.ran == []  # type: ignore[attr-defined]
    assert caught.value.problems[1:] == [
        "  monitor: given r2; the metrics of these data are loss, mse, solved"
    ]
    assert sweep(*words, "monitor=mse") == ["gru 0", "gru 1"]
