"""Exported graphs against the model: torch.export, and ONNX by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir

from gatescope.export import export
from gatescope.run import build_module, load_data
from gatescope.trained import LoadError, Trained


def untrained(root: Path, *overrides: str) -> Trained:
    small = ("model.hidden_size=4", "data.train=16", "data.validation=8", "data.test=8", "data.lag=5")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [f"root={root}", "data=delayed_recall", *small, *overrides])
    torch.manual_seed(0)
    data = load_data(cfg)
    return Trained.with_data(root, cfg, build_module(cfg, data).model.eval().requires_grad_(False), data)


def padded() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randint(0, 16, (3, 6), generator=torch.Generator().manual_seed(1))
    return inputs, torch.tensor([6, 1, 4])


def values(trained: Trained) -> torch.Tensor:
    inputs, lengths = padded()
    model = trained.model
    return model.readout(model.stack(model.embed(inputs), lengths), lengths).values


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_torch_export_equals_the_model(tmp_path: Path, cell: str) -> None:
    trained = untrained(tmp_path, f"model={cell}", "attention=additive", "model.bidirectional=true")
    path = export(trained, tmp_path / "model.pt2", batch=3)
    loaded = torch.export.load(path).module()
    torch.testing.assert_close(loaded(*padded()), values(trained), rtol=0, atol=1e-5)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["steps"] == 6
    assert described["labels"] == list(trained.task.labels)
    assert len(described["vocabulary"]) == 16


@pytest.mark.filterwarnings("ignore")  # onnx's own
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_onnx_equals_the_model(tmp_path: Path, cell: str) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra export)")
    trained = untrained(tmp_path, f"model={cell}", "attention=dot")
    path = export(trained, tmp_path / "model.onnx", batch=3)
    inputs, lengths = padded()
    given = {"inputs": inputs.numpy(), "lengths": lengths.numpy()}
    (found,) = runtime.InferenceSession(str(path)).run(None, given)
    torch.testing.assert_close(torch.from_numpy(found), values(trained), rtol=0, atol=1e-5)


def test_models_that_cannot_be_exported_are_an_error(tmp_path: Path) -> None:
    trained = untrained(tmp_path, "model=mingru")
    with pytest.raises(LoadError, match="fused cells"):
        export(trained, tmp_path / "model.pt2")
    with pytest.raises(LoadError, match=r"written as \.pt2 or \.onnx"):
        export(trained, tmp_path / "model.pkl")
