"""A study on each engine, one of its runs killed in the middle, and repeated to completion.

SLURM needs a cluster: scripts/slurm_one_node.sh makes one and does the same there.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from conftest import Compose
from omegaconf import OmegaConf
from studies.processes import ended, runs_of, start, wait_for

from gatescope import composition
from gatescope.cli import FAILED
from gatescope.composition import compose, make_loader
from gatescope.config import ConfigError, check
from gatescope.run import run

LOCAL = {"joblib": ("hydra.launcher.n_jobs=2",), "ray": ("hydra.launcher.ray.init.num_cpus=2",)}
PLUGINS = {"joblib": "hydra_joblib_launcher", "ray": "hydra_ray_launcher", "slurm": "hydra_submitit_launcher"}
STUDY = ("-m", "model=rnn,gru", "seed=0,1", "instruments=off", "checkpoint.every_n_steps=20")
LONG = (*STUDY, "trainer.max_epochs=80")


def need(launcher: str) -> None:
    if find_spec(f"hydra_plugins.{PLUGINS[launcher]}") is None:
        pytest.skip(f"the extra of launcher={launcher} is not installed ({composition.EXTRAS[launcher]})")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LOCAL)
def test_a_study_whose_worker_is_killed_is_finished_by_its_own_command(launcher: str, tmp_path: Path) -> None:
    need(launcher)
    words = (*LONG, f"launcher={launcher}", *LOCAL[launcher])
    sweep = start(*words, runs=tmp_path)
    wait_for(lambda: list(tmp_path.glob("*/*/checkpoints/last.ckpt")), sweep)
    saved = next(tmp_path.glob("*/*/checkpoints/last.ckpt")).parents[1].name
    victim = next(one for one in runs_of(tmp_path) if one["run_id"] == saved)
    assert victim["pid"] != sweep.pid
    psutil.Process(victim["pid"]).kill()
    code, out, errors = ended(sweep)
    assert code == FAILED, out
    assert "the sweep was cut short" in errors
    assert "the same command runs what is missing" in errors
    assert "Traceback" not in errors
    first = {one["run_id"]: one["status"] for one in runs_of(tmp_path)}
    assert first[saved] == "running"

    code, out, errors = ended(start(*words, runs=tmp_path))
    assert code == 0, errors
    told = {one["run_id"]: one for one in runs_of(tmp_path)}
    assert {one["status"] for one in told.values()} == {"finished"}
    assert len(told) == 4
    assert told[saved]["resumed"]  # it went on from its checkpoint


@pytest.mark.slow
def test_workers_of_joblib_end_with_the_sweep_that_is_killed(tmp_path: Path) -> None:
    need("joblib")
    words = (*LONG, "trainer.max_epochs=2000", "launcher=joblib", "hydra.launcher.n_jobs=2")
    sweep = start(*words, runs=tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("*/*/checkpoints/last.ckpt"))) == 2, sweep)
    workers = psutil.Process(sweep.pid).children(recursive=True)
    assert {one["pid"] for one in runs_of(tmp_path)} <= {worker.pid for worker in workers}
    sweep.kill()
    sweep.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


@pytest.mark.slow
def test_a_run_of_joblib_fails_alone_with_its_reason(tmp_path: Path) -> None:
    need("joblib")
    words = ("-m", "optimizer=sgd", "optimizer.lr=0.01,1e30", "trainer.gradient_clip_val=null")
    sweep = start(*words, "instruments=off", "launcher=joblib", "hydra.launcher.n_jobs=2", runs=tmp_path)
    code, out, errors = ended(sweep)
    assert code == FAILED
    assert "1 of 2 runs failed" in errors
    assert "NonFiniteLoss: the train loss became" in out
    assert "initializer" not in out + errors, "arguments of joblib are not for users"
    assert sorted(one["status"] for one in runs_of(tmp_path)) == ["failed", "finished"]


@pytest.mark.slow
def test_a_run_of_joblib_can_have_loader_processes(tmp_path: Path) -> None:
    need("joblib")
    words = (
        "-m",
        "seed=0",
        "data.workers=1",
        "instruments=off",
        "launcher=joblib",
        "hydra.launcher.n_jobs=2",
    )
    code, out, errors = ended(start(*words, runs=tmp_path))
    assert code == 0, out + errors


@pytest.mark.slow
def test_workers_of_joblib_are_reused_across_jobs(tmp_path: Path) -> None:
    need("joblib")
    words = ("-m", "seed=0,1,2,3", "instruments=off", "launcher=joblib", "hydra.launcher.n_jobs=2")
    code, _, errors = ended(start(*words, runs=tmp_path))
    assert code == 0, errors
    workers = [one["pid"] for one in runs_of(tmp_path)]
    assert len(workers) == 4
    assert len(set(workers)) <= 2


@pytest.mark.parametrize("launcher", ["basic", *PLUGINS])
def test_a_launcher_changes_where_runs_are_run_and_nothing_of_them(launcher: str, config: Compose) -> None:
    if launcher in PLUGINS:
        need(launcher)
    plain, cfg = config(), config(f"launcher={launcher}")
    check(cfg)
    plain.trainer.threads = cfg.trainer.threads
    assert OmegaConf.to_container(cfg, resolve=True) == OmegaConf.to_container(plain, resolve=True)
    assert cfg.trainer.threads == (1 if launcher in ("joblib", "ray") else None)


def test_a_launcher_that_is_not_installed_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    launchers = store.repo["hydra"]["launcher"]
    monkeypatch.setitem(
        store.repo["hydra"], "launcher", {k: v for k, v in launchers.items() if "ray" not in k}
    )
    loader = make_loader(Path(__file__).parents[2] / "conf")
    with pytest.raises(ConfigError, match=r"launcher=ray: not installed; pip install .*\[ray\]"):
        compose(loader, ["launcher=ray"])


def test_threads_are_set_by_each_run(small: Compose) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        run(small("trainer.threads=2", "instruments=off"))
        assert torch.get_num_threads() == 2
        run(small("trainer.threads=1", "instruments=off", "seed=1"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_an_error_of_a_worker_arrives_whole() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ConfigError(["a: given 1", "b: given 2"])))
    assert error.problems == ["a: given 1", "b: given 2"]
    assert str(error) == "a: given 1\nb: given 2"
