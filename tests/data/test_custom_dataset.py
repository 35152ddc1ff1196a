"""The worked example of `gatescope.data`, executed as it is written, from another folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import FAST, ROOT
from hydra import compose, initialize_config_dir

import gatescope
import gatescope.data
from gatescope.commands import errors, explain
from gatescope.data.errors import DataError
from gatescope.run import run
from gatescope.texts import texts_of
from gatescope.tracking import predictions
from gatescope.tracking.runfile import read_config

SETTINGS = [word for word in FAST if word != "model.hidden_size=6"]


def block(heading: str) -> str:
    """Return the indented block below a line that ends with `heading`."""
    assert gatescope.data.__doc__ is not None
    match = re.search(rf"{re.escape(heading)}\n\n((?:    .*\n|\n)+)", gatescope.data.__doc__)
    assert match is not None, heading
    return dedent(match[1]).strip() + "\n"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with shift.py and conf/data/shift.yaml, as the docstring has them, as the current folder."""
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "shift.py").write_text(block("shift.py:"))
    (tmp_path / "conf" / "data" / "shift.yaml").write_text(block("conf/data/shift.yaml:"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shift", raising=False)
    return tmp_path


def test_the_example_trains_and_its_examples_are_shown(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.path.append(str(example))
    search = f"hydra.searchpath=[file://{example}/conf]"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(
            "config", ["data=shift", "model.hidden_size=6", search, f"root={example}/runs", *SETTINGS]
        )
    result = run(cfg)
    assert "test/accuracy" in result.summary
    trained = gatescope.load(result.directory, trust=True)
    batch = trained.example(0)
    ids = [str(i) for i in batch.inputs[0].tolist()]
    assert trained.data.tokens(batch) == [ids]
    assert trained.data.texts("test", [0]) == [" ".join(ids)]
    assert trained.answers(batch)[0].label in {str(i) for i in range(10)}
    with pytest.raises(DataError, match="not made of texts"):
        trained.predict(["1 2 3"])
    path = predictions.find(result.directory)
    assert path is not None
    texts = texts_of(read_config(result.directory), predictions.read(path), trust=True)
    assert texts is not None
    assert texts([0]) == [" ".join(ids)]

    # The commands import the module from the current folder.
    sys.path.remove(str(example))
    monkeypatch.delitem(sys.modules, "shift")
    assert explain.main([f"run={result.directory}", "index=0", "colour=false", "trust=true"]) == 0
    assert "leave-one-out" in capsys.readouterr().out
    assert errors.main([f"run={result.directory}", "trust=true"]) == 0
    assert re.search(r"Worst errors\n.*text\n.* \d \d \d \d \d \d \d \d\n", capsys.readouterr().out)


@pytest.mark.slow
def test_the_command_of_the_example_runs_from_another_folder(example: Path) -> None:
    (words,) = re.findall(r"python train\.py (.+)", str(gatescope.data.__doc__))
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words.split(), "model.hidden_size=6", *SETTINGS],
        capture_output=True,
        text=True,
        env=os.environ | {"RUNS_DIR": str(example / "runs"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "test/accuracy" in done.stderr + done.stdout
    (directory,) = (example / "runs" / "default").glob("gru-none-shift-s0-*")
    assert (directory / "predictions.csv").exists()
