"""A new dataset, cell, attention and instrument need their own files and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir

from gatescope.run import run

MODULE = '''
import torch

from gatescope.cells.rnn import RNN
from gatescope.data.datamodule import SequenceData
from gatescope.data.examples import Examples, Splits
from gatescope.sequences import TaskSpec
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import scalar
from gatescope.models.attention import Attention


class Signs(SequenceData):
    """Is the last value positive?"""

    def build(self):
        task = TaskSpec("classification", "features", 1, 1, "accuracy", "max", labels=("no", "yes"))
        return Splits(*(self.draw(split) for split in range(3)), task)

    def draw(self, split):
        values = torch.randn(64, 5, 1, generator=torch.Generator().manual_seed(split))
        return Examples(list(values), (values[:, -1, 0] > 0).long())


class Quiet(RNN):
    """A vanilla RNN that starts at small weights."""

    def __init__(self, input_size, hidden_size, scale: float = 0.1):
        super().__init__(input_size, hidden_size)
        with torch.no_grad():
            for weight in self.parameters():
                weight.mul_(scale)


class First(Attention):
    """Attends by the first entry of each state alone."""

    def score(self, query, states):
        return states[..., 0].transpose(1, 2)


class StateNorm(ProbeInstrument):
    def read(self, probe):
        norms = {name: layer.states.h.norm(dim=-1).mean() for name, layer in probe.layers.items()}
        return {f"state_norm/{name}/mean": scalar(norm) for name, norm in norms.items()}
'''

CONF = {
    "data/signs.yaml": "_target_: throwaway.Signs\nbatch_size: 16\nseed: 0\nworkers: 0\n",
    "model/quiet.yaml": "defaults: [_base, _self_]\nname: quiet\n"
    "cell: {_target_: throwaway.Quiet, _partial_: true, scale: 0.1}\n",
    "attention/first.yaml": "_target_: throwaway.First\n_partial_: true\nheads: 1\n",
    "instruments/mine.yaml": "every_n_steps: 2\nexamples: 8\n"
    "readers: {norm: {_target_: throwaway.StateNorm}}\n",
}


def test_new_parts_need_their_own_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "throwaway.py").write_text(MODULE)
    for name, text in CONF.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    groups = ["data=signs", "model=quiet", "attention=first", "instruments=mine", "tracking=off"]
    settings = [f"root={tmp_path}/runs", f"hydra.searchpath=[file://{tmp_path}/conf]", "trainer.max_epochs=1"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*groups, *settings, "model.hidden_size=4"])
    result = run(cfg)
    rows = [json.loads(line) for line in (result.directory / "readings.jsonl").read_text().splitlines()]
    assert {row["name"] for row in rows} == {"state_norm/layer0/mean", "tested/state_norm/layer0/mean"}
    assert all(row["value"] > 0 for row in rows)
    assert "test/accuracy" in result.summary
    assert result.directory.name.startswith("quiet-first-")
