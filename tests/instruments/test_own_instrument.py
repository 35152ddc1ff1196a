"""The worked example of an instrument outside the package, run as it is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import FAST, ROOT, SMALL

import gatescope.instruments


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language in the docstring of the package."""
    text = gatescope.instruments.__doc__
    assert text is not None
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_the_worked_example_runs_from_another_folder(tmp_path: Path) -> None:
    (code,), (command,), (config,) = (blocks(language) for language in ("python", "sh", "yaml"))
    (tmp_path / "state_norm.py").write_text(code, encoding="utf-8")
    words = command.replace("python path/to/train.py", f"{sys.executable} {ROOT / 'train.py'}").strip()
    settings = " ".join((*SMALL, *FAST, "instruments=off", "trainer.max_steps=2", "root=runs"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(f"{words} {settings}", shell=True, cwd=tmp_path, env=environment, check=True)

    (record,) = (tmp_path / "runs").glob("*/*-s0-*/readings.jsonl")
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert {row["name"] for row in rows} == {"state_norm/layer0/mean", "tested/state_norm/layer0/mean"}
    assert all(row["kind"] == "scalar" and row["value"] > 0 for row in rows)
    saved = yaml.safe_load((record.parent / "config.yaml").read_text(encoding="utf-8"))
    assert saved["instruments"]["readers"] == yaml.safe_load(config), "the config file says the same"
