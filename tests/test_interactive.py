"""`gatescope.run` and `gatescope.study`, as a notebook uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FAST, SMALL

import gatescope
from gatescope.analysis.runs import NoRuns
from gatescope.config import ConfigError
from gatescope.tracking.identity import run_dir

WORDS = [*SMALL, *FAST]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two variants."""
    folder = tmp_path_factory.mktemp("study")
    for model in ("rnn", "gru"):
        for seed in (0, 1):
            words = [*WORDS, f"root={folder}", f"model={model}", f"seed={seed}", "instruments=off"]
            gatescope.run(overrides=[*words, "trainer.enable_progress_bar=false"])
    return folder


def test_a_run_is_the_one_of_the_command_line(root: Path, config, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, f"root={root}", "model=gru", "seed=0", "instruments=off"]
    result = gatescope.run(words)  # finished: its result is returned
    assert result.directory == run_dir(config(*words))
    assert result.module is not None
    fresh = gatescope.run([*words, "seed=2"])
    assert fresh.directory != result.directory
    shown = capsys.readouterr()
    assert "epoch 1 of" in shown.out + shown.err  # the bar


def test_run_can_be_called_where_its_module_is_imported() -> None:
    assert gatescope.run is sys.modules["gatescope.run"]  # type: ignore[comparison-overlap]
    assert callable(gatescope.run)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, gatescope; sys.exit(bool({'torch', 'pandas', 'hydra', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_tables_and_contrasts_of_a_study(root: Path) -> None:
    study = gatescope.study("default", root)
    assert repr(study).startswith("Study('default': ")
    assert set(study.runs.variant) == {"rnn-none", "gru-none"}
    assert {"name", "value", "variant", "seed"} <= set(study.metrics)
    assert study.measurements.empty
    (row,) = study.compare("gru-none", "rnn-none").to_dict("records")
    own = study.runs[study.runs.seed.isin([0, 1])].set_index(["variant", "seed"])[row["metric"]].astype(float)
    differences = own["gru-none"] - own["rnn-none"]
    assert row["n"] == 2
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["a"] - row["b"] == pytest.approx(row["difference"])
    a, b = study.runs.run_id.iloc[:2]
    assert (
        study.compare(a, b).loc[row["metric"], "A"] == own.loc[tuple(study.runs.iloc[0][["variant", "seed"]])]
    )


def test_messages(root: Path) -> None:
    study = gatescope.study("default", root)
    with pytest.raises(NoRuns, match=r"no variant or run 'gru-non': did you mean gru-none\?"):
        study.compare("gru-non", "rnn-none")
    with pytest.raises(NoRuns, match="no runs in"):
        gatescope.study("first_light", root)
    with pytest.raises(ConfigError, match="model"):
        gatescope.run(["model=gruu"])
    with pytest.raises(ConfigError, match=r"use a list: \['model=gru'\]"):
        gatescope.run("model=gru")
