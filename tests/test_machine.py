"""Numbers that this machine, or any, cannot run: one message with the key, exit code 2, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Compose

from gatescope import machine
from gatescope.building import build_network
from gatescope.cli import check_command_line, report_error
from gatescope.config import ConfigError, check
from gatescope.data.errors import DataError
from gatescope.machine import check_machine, memory_problem
from gatescope.models.encoder import sizes
from gatescope.run import load_data, run
from gatescope.tracking.identity import run_dir

GIB = 2**30


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two cores and 8 GiB."""
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "memory", lambda: 8 * GIB)


def refused(cfg: Any) -> str:
    with pytest.raises(ConfigError) as caught:  # noqa: PT012 - both check every config
        check(cfg)
        check_machine(cfg)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


TOO_MUCH = {
    "trainer.devices=1000": ("trainer.devices: given 1000 processes", "at most 16"),
    "data.workers=10000": ("data.workers: given 10000", "at most 1000"),
    "trainer.threads=100000": ("trainer.threads: given 100000", "at most 1024, or null"),
    "model.layers=100000": ("model.layers: given 100000", "less than or equal to 1000"),
    "model.hidden_size=10000000": ("model.hidden_size: given 10000000 with model.layers=1", "8.0 GiB"),
    "model.hidden_size=9999999999999999999": ("model.hidden_size: given", "at most 1e+12"),
    "model.parameters=1000000000000": ("model.parameters: given 1000000000000", "14,901.2 GiB"),
    "model.embedding_size=1000000000": ("model.embedding_size: given", "less than or equal to 100000"),
    "data.batch_size=1000000000000": ("data.batch_size: given 1000000000000", "at most 2147483647"),
    "data.seed=100000000000000": ("data.seed: given 100000000000000", "at most 1e+12"),
    "+trainer.max_time={weeks:1e300}": (
        "trainer.max_time.weeks: given 1e+300",
        "the largest number of float32",
    ),
    "+trainer.max_time=999999999999:00:00:00": ("trainer.max_time: given", "days:hours:minutes:seconds"),
}


@pytest.mark.usefixtures("small_machine")
@pytest.mark.parametrize(("word", "expected"), TOO_MUCH.items(), ids=TOO_MUCH)
def test_one_message_names_the_key_and_the_remedy(
    small: Compose, word: str, expected: tuple[str, str]
) -> None:
    message = refused(small(word))
    assert message.startswith(expected[0])
    assert expected[1] in message


@pytest.mark.parametrize(
    ("optimizer", "copies"), [("adam", 4), ("adamw", 4), ("sgd", 3), ("sgd optimizer.momentum=0", 2)]
)
def test_the_state_of_the_optimizer_counts(
    small: Compose, monkeypatch: pytest.MonkeyPatch, optimizer: str, copies: int
) -> None:
    """Against the tensors that an optimizer keeps after a step."""
    cfg = small(f"optimizer={optimizer.split()[0]}", *optimizer.split()[1:])
    parameter = torch.nn.Parameter(torch.zeros(1000))
    arguments = {key: value for key, value in cfg.optimizer.items() if not key.startswith("_")}
    own = getattr(torch.optim, cfg.optimizer._target_.rpartition(".")[2])([parameter], **arguments)
    parameter.grad = torch.ones(1000)
    own.step()
    kept = [v for v in own.state[parameter].values() if torch.is_tensor(v) and v.numel() == 1000]
    assert copies == 2 + len(kept)
    monkeypatch.setattr(machine, "memory", lambda: 1000 * 4 * copies)
    assert memory_problem(cfg, 1000) == ""
    assert "1,001 parameters" in memory_problem(cfg, 1001)


@pytest.mark.parametrize("model", ["gru", "lstm", "peephole_lstm", "rnn", "lru", "rglru", "minlstm"])
def test_the_estimate_is_the_size_of_the_stack(small: Compose, model: str) -> None:
    cfg = small(f"model={model}", "model.layers=3", "model.bidirectional=true", "model.hidden_size=6")
    data = load_data(cfg)
    exact = sizes(build_network(cfg, data.task))["stack"]
    import json

    from omegaconf import OmegaConf

    node = json.dumps(OmegaConf.to_container(cfg.model, resolve=True))
    # The first layer has one feature in the estimate: the difference is that of its input weights.
    missing = exact - machine._stack_parameters(node)
    other = sizes(build_network(small(*[f"model={model}", "model.hidden_size=6"]), data.task))["stack"]
    assert 0 <= missing <= 2 * other


def test_a_model_that_is_too_large_with_its_vocabulary_is_refused_when_it_is_built(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 400)
    monkeypatch.setattr(machine, "_stack_parameters", lambda model: 10)
    with pytest.raises(ConfigError, match=r"model: [\d,]+ parameters; .* 0.0 GiB"):
        run(small("trainer.max_epochs=1"))


def test_the_states_of_a_batch_count(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the states that the layers return for a batch; the optimizer keeps two values a parameter."""
    cfg = small("model.layers=2", "model.bidirectional=true", "data.batch_size=32", "trainer.max_epochs=1")
    data = load_data(cfg)
    model = build_network(cfg, data.task)
    batch = next(iter(data.train_dataloader()))
    _, _, traces = model.trace(batch)
    kept = sum(trace.states.h.numel() for trace in traces.values())
    states = 4 * (kept + 4 * sizes(model)["total"])
    monkeypatch.setattr(machine, "memory", lambda: states - 4)
    with pytest.raises(
        ConfigError, match=r"the states of one batch 0\.0 GiB, .*use a smaller data\.batch_size"
    ):
        run(cfg)
    monkeypatch.setattr(machine, "memory", lambda: states)
    assert run(cfg).summary["test/mse"] > 0


def test_data_that_do_not_fit_are_refused(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"data.train: given 1000000000000000, and these examples take"):
        load_data(small("data=adding", "data.train=1000000000000000"))
    with pytest.raises(DataError, match=r"data: the memory of this machine, .* is too small for these data"):
        load_data(small("data=adding", "data.steps=1000000000000"))


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP_LIMIT", tmp_path / "memory.max")
    whole = machine.memory()
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory() == whole
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    assert machine.memory() == GIB


def test_a_sweep_stops_before_anything_is_written(tmp_path: Path) -> None:
    words = ["-m", "model.hidden_size=8,10000000", "data=adding", "root=runs"]
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "1 of 2 jobs are invalid, none started" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trainer=ddp_cpu trainer.devices=1000", "trainer.devices: given 1000 processes"),
        ("trainer.num_nodes=2", "is added by +trainer.num_nodes=2"),
    ],
)
def test_the_command_stops_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *words.split(), "data=adding", "root=runs"])
    with pytest.raises(ConfigError) as caught:
        check_command_line()
    assert message in str(caught.value)
    assert report_error(caught.value) == 2
    assert not list(tmp_path.iterdir())


def test_run_checks_the_machine(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = small("trainer.threads=5000")
    with pytest.raises(ConfigError, match=r"trainer\.threads: given 5000"):
        run(cfg)
    assert not run_dir(cfg).exists()
