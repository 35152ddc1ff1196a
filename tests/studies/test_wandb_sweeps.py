"""conf/sweeps: the command that W&B's agent makes of each file is one that train.py takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from gatescope.composition import compose, make_loader
from gatescope.config import check

FILES = sorted((ROOT / "conf" / "sweeps").glob("*.yaml"))
LOADER = make_loader(ROOT / "conf")


def ends(parameter: dict[str, Any]) -> list[Any]:
    """The first and the last value that W&B may choose."""
    if "values" in parameter:
        return [parameter["values"][0], parameter["values"][-1]]
    if "value" in parameter:
        return [parameter["value"]] * 2
    return [parameter["min"], parameter["max"]]


def words(sweep: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """The command line, as wandb's own agent fills it in."""
    flags = create_sweep_command_args({"args": {k: {"value": v} for k, v in chosen.items()}})
    made: list[str] = []
    for word in sweep["command"]:
        made += flags["args_no_hyphens"] if word == "${args_no_hyphens}" else [word]
    return made


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("end", [0, 1])
def test_the_agents_command_composes_and_passes(path: Path, end: int) -> None:
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    chosen = {key: ends(parameter)[end] for key, parameter in sweep["parameters"].items()}
    made = words(sweep, chosen)
    assert made[:3] == ["${env}", "${interpreter}", "${program}"]
    assert (ROOT / sweep["program"]).exists()
    overrides = made[3:]
    assert len(overrides) >= len(chosen)
    cfg = compose(LOADER, overrides)
    check(cfg)
    assert cfg.optimizer.lr == chosen["optimizer.lr"]
    assert cfg.model.hidden_size == chosen["model.hidden_size"]
    assert cfg.tracking.mode == "online"
    assert sweep["project"] == cfg.tracking.project


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_goal_is_the_tasks_metric_on_validation(path: Path) -> None:
    from gatescope.run import load_data

    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    fixed = [word for word in sweep["command"] if "=" in word]
    small = ["data.limit=100"]
    if "data=adding" in fixed:
        small = ["data.train=8", "data.validation=8", "data.test=8", "data.steps=6"]
    task = load_data(compose(LOADER, [*fixed, *small])).task
    goal = {"min": "minimize", "max": "maximize"}[task.direction]
    assert sweep["metric"] == {"name": f"validation/{task.metric}", "goal": goal}


def test_there_is_a_sweep_of_each_kind() -> None:
    sweeps = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES]
    assert {one["method"] for one in sweeps} == {"random", "bayes"}
    assert [one["early_terminate"]["type"] for one in sweeps if "early_terminate" in one] == ["hyperband"]
