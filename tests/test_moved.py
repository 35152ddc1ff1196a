"""Records whose config names a class by its old path are opened, and found again by the same run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Compose
from trained_runs import SERIES, trained_run

import gatescope
from gatescope.analysis.runs import RunSource
from gatescope.config import ConfigError, check
from gatescope.moved import MOVED, ORIGINAL
from gatescope.run import recorded_result
from gatescope.texts import texts_of
from gatescope.tracking import predictions
from gatescope.tracking.identity import result_config, run_id
from gatescope.tracking.runfile import read_config

OLD = "gatescope.data.adding.Adding"


@pytest.fixture
def old_record(tmp_path: Path) -> Path:
    """A record as it was written before the class moved."""
    directory = trained_run(tmp_path, *SERIES)
    path = directory / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["data"]["_target_"] == MOVED[OLD]
    path.write_text(path.read_text().replace(MOVED[OLD], OLD))
    return directory


def test_an_old_record_is_opened(old_record: Path) -> None:
    trained = gatescope.load(old_record)
    assert type(trained.data).__module__ == "gatescope.data.generated.adding"
    assert trained.config.data._target_ == MOVED[OLD]
    assert read_config(old_record)["data"]["_target_"] == MOVED[OLD]
    tables = RunSource(old_record).tables()
    (config,) = tables.configs.values()
    assert config["data"]["_target_"] == MOVED[OLD]
    path = predictions.find(old_record)
    assert path is not None
    assert texts_of(config, predictions.read(path)) is not None


def test_an_old_record_is_found_again(old_record: Path, config: Compose) -> None:
    fast = ("trainer.max_epochs=2", "trainer.threads=1", "tracking=off", "instruments=off")
    cfg = config(*SERIES, *fast)
    result = json.loads(json.loads((old_record / "run.json").read_text())["result_config"])
    assert result["data"]["_target_"] == OLD, "the identity of a run names the original path"
    assert run_id(cfg) == old_record.name
    found = recorded_result(cfg)
    assert found is not None
    assert found.directory == old_record
    assert found.module is not None


def test_each_class_exists_and_keeps_the_identity_of_its_runs(config: Compose) -> None:
    cfg = config("data=adding")
    for old, new in MOVED.items():
        module, _, name = new.rpartition(".")
        assert hasattr(import_module(module), name), new
        assert new not in MOVED
        before, after = ({**cfg, "data": {"_target_": path, "name": "x"}} for path in (old, new))
        assert result_config(before) == result_config(after)
    assert len(ORIGINAL) == len(MOVED)


def test_a_config_of_the_user_with_an_old_path_is_refused_with_the_new_one(config: Compose) -> None:
    with pytest.raises(ConfigError, match=rf"^data\._target_: {OLD} has moved, write {MOVED[OLD]}$"):
        check(config("data=adding", f"data._target_={OLD}"))


def test_no_config_names_an_old_path() -> None:
    assert not [target for target in targets() if target in MOVED]


def targets() -> Iterator[str]:
    for path in (ROOT / "conf").rglob("*.yaml"):
        for line in path.read_text().splitlines():
            if "_target_:" in line:
                yield line.split("_target_:")[1].split(",")[0].strip(" }")
