"""A tuned sweep from its command, with a task that writes what a run writes; and one that trains."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from tests.conftest import FAST, ROOT, SMALL

from gatescope.config import ConfigError
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import SweepFailed
from gatescope.training.finite_loss import NonFiniteLoss

Task = Callable[[DictConfig], float]
Sweep = Callable[..., list[DictConfig]]
TUNE = ("recipe=none", "tune=random", "tune.trials=4", "tracking=off", *SMALL)


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """`sweep(result, *overrides)` sweeps with the validation loss `result(cfg)` and returns the configs."""
    version.setbase("1.3")
    handlers = logging.getLogger().handlers[:]

    def swept(result: Task, *overrides: str) -> list[DictConfig]:
        ran: list[DictConfig] = []

        def task(cfg: DictConfig) -> None:
            ran.append(cfg)
            value = result(cfg)
            record = {
                "status": "finished",
                "task": {"metric": "mse", "direction": "min"},
                "summary": {"test/mse": 9 - value, "best/validation/mse": value},
            }
            (run_dir(cfg) / "run.json").write_text(json.dumps(record))

        hydra = Hydra.create_main_hydra2("train", create_config_search_path(str(ROOT / "conf")))
        try:
            hydra.multirun("config", task, [f"root={tmp_path}", *TUNE, *overrides])
        finally:
            GlobalHydra.instance().clear()
        return ran

    yield swept
    logging.getLogger().handlers[:] = handlers


def distance(cfg: DictConfig) -> float:
    """A loss that is best at a learning rate of 0.003 for a GRU, and of 0.001 for any other cell."""
    return abs(float(cfg.optimizer.lr) - (0.003 if cfg.model.name == "gru" else 0.001))


def test_each_variant_gets_the_same_trials_and_its_best_setting_runs_on_the_seeds(sweep: Sweep) -> None:
    ran = sweep(distance, "model=rnn,gru", "seed=0,1")
    trials = {
        name: [c for c in ran if c.tune.stage == "trial" and c.model.name == name] for name in ("rnn", "gru")
    }
    assert [c.optimizer.lr for c in trials["rnn"]] == [c.optimizer.lr for c in trials["gru"]]
    assert [c.tune.number for c in trials["gru"]] == [0, 1, 2, 3]
    assert {c.seed for c in trials["gru"]} == {1000}
    for name, own in trials.items():
        final = [c for c in ran if c.tune.stage == "final" and c.model.name == name]
        best = min(own, key=distance)
        assert [c.seed for c in final] == [0, 1]
        assert {(c.optimizer.lr, c.model.dropout, c.tune.number) for c in final} == {
            (best.optimizer.lr, best.model.dropout, best.tune.number)
        }


def test_the_same_command_again_runs_nothing_and_more_trials_only_the_new_ones(sweep: Sweep) -> None:
    sweep(distance, "seed=0")
    assert sweep(distance, "seed=0") == []
    more = sweep(distance, "seed=0", "tune.trials=6")
    assert [c.tune.number for c in more if c.tune.stage == "trial"] == [4, 5]


def test_a_trial_that_diverges_counts_and_one_that_breaks_is_run_again(sweep: Sweep) -> None:
    def diverges(cfg: DictConfig) -> float:
        if cfg.tune.stage == "trial" and cfg.tune.number == 1:
            raise NonFiniteLoss("the loss became nan")
        return distance(cfg)

    assert [c.tune.number for c in sweep(diverges, "seed=0")][:4] == [0, 1, 2, 3]
    assert sweep(diverges, "seed=0") == []

    def breaks(cfg: DictConfig) -> float:
        if cfg.tune.number == 2:
            raise OSError("disk full")
        return distance(cfg)

    with pytest.raises(SweepFailed, match=r"1 trials failed.*\n.*trial 2: disk full"):
        sweep(breaks, "model=rnn")
    assert [c.tune.number for c in sweep(distance, "model=rnn") if c.tune.stage == "trial"] == [2]


def test_what_does_not_fit_the_sweep_is_refused_before_the_first_job(sweep: Sweep) -> None:
    refused = {
        ("seed=0,1000",): "tune.seeds: given 1000",
        ("optimizer.lr=0.1,0.2",): "tune.space: optimizer.lr is also given",
        ("tune.space={optimizer.lr:{low:2,high:1}}",): "tune.space",
    }
    for words, message in refused.items():
        with pytest.raises(ConfigError, match=message):
            sweep(distance, *words)


def test_successive_halving_trains_the_best_settings_for_longer(sweep: Sweep) -> None:
    halved = ("tune.trials=9", "tune.halving=3", "trainer.max_epochs=-1", "trainer.max_steps=90", "seed=0")
    ran = sweep(distance, *halved, "model=rnn,gru")
    for name in ("rnn", "gru"):
        own = [c for c in ran if c.model.name == name]
        by_length = {
            steps: [c for c in own if c.trainer.max_steps == steps and c.tune.stage != "final"]
            for steps in (10, 30, 90)
        }
        assert [len(found) for found in by_length.values()] == [9, 3, 1]
        best = sorted(by_length[10], key=distance)
        assert {c.tune.number for c in by_length[30]} == {c.tune.number for c in best[:3]}
        assert by_length[90][0].optimizer.lr == best[0].optimizer.lr
        assert [c.tune.stage for c in (*by_length[30], *by_length[90])] == ["rung"] * 3 + ["trial"]
        (final,) = (c for c in own if c.tune.stage == "final")
        assert (final.optimizer.lr, final.trainer.max_steps) == (best[0].optimizer.lr, 90)
    assert sweep(distance, *halved, "model=rnn,gru") == []


def test_halving_goes_on_after_a_stop(sweep: Sweep) -> None:
    halved = ("tune.trials=9", "tune.halving=3", "trainer.max_epochs=9", "seed=0")

    def breaks(cfg: DictConfig) -> float:
        if cfg.trainer.max_epochs == 3:
            raise OSError("disk full")
        return distance(cfg)

    with pytest.raises(SweepFailed, match="3 trials failed"):
        sweep(breaks, *halved)
    assert [c.trainer.max_epochs for c in sweep(distance, *halved)] == [3, 3, 3, 9, 9]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tune=tpe", "tune.halving=3"), "allowed: with tune=random"),
        (("tune.halving=5",), "at most tune.trials, 4"),
        (("tune.halving=2", "trainer.max_epochs=3"), "less than an epoch"),
        (("tune.halving=1",), "tune.halving: given 1"),
    ],
)
def test_halving_that_is_not_possible_is_refused(sweep: Sweep, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep(distance, *words)


def test_equal_settings_are_one_run(sweep: Sweep) -> None:
    ran = sweep(distance, "tune.space={optimizer.lr:null,model.dropout:[0.0,0.3]}")
    assert sorted(c.model.dropout for c in ran if c.tune.stage == "trial") == [0.0, 0.3]


def test_values_replace_the_range_of_the_file(sweep: Sweep) -> None:
    ran = sweep(
        distance, "tune.space={optimizer.lr:{values:[0.01,0.02]},model.dropout:null}", "tune.trials=9"
    )
    assert {c.optimizer.lr for c in ran if c.tune.stage == "trial"} == {0.01, 0.02}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_tuned_sweep_trains(tmp_path: Path, sampler: str) -> None:
    words = [
        *TUNE,
        *FAST,
        f"tune={sampler}",
        "tune.trials=2",
        "instruments=off",
        "model=rnn,gru",
        "seed=0",
        f"root={tmp_path}",
    ]
    command = [sys.executable, str(ROOT / "train.py"), *words, "study.name=t"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert len(list(tmp_path.glob("t/*/run.json"))) == 2 * 2 + 2
    assert found.stdout.count("best of 2 trials") == 2
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "2 runs, 2 finished already" in again.stdout
