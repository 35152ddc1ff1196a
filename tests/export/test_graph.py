"""Exported graphs against the model: torch.export, and ONNX by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, first_few
from hydra import compose, initialize_config_dir
from trained_runs import trained_run

import gatescope
from gatescope.commands.export import main
from gatescope.export import export
from gatescope.run import build_module, load_data
from gatescope.sequences import Batch
from gatescope.trained import LoadError, Trained

SERIES = np.random.default_rng(0).normal(size=(60, 6, 2))


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


@pytest.mark.parametrize("cell", ["gru", pytest.param("lstm", marks=pytest.mark.slow)])
def test_torch_export_equals_the_model(tmp_path: Path, cell: str) -> None:
    trained = untrained(tmp_path, f"model={cell}", "attention=additive", "model.bidirectional=true")
    path = export(trained, tmp_path / "model.pt2", batch=3)
    loaded = torch.export.load(path).module()
    torch.testing.assert_close(loaded(*padded()), values(trained), rtol=0, atol=1e-5)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["steps"] == 6
    assert described["labels"] == list(trained.task.labels)
    assert len(described["vocabulary"]) == 16


needs_torch = pytest.mark.skipif(not hasattr(torch.onnx, "ops"), reason="ONNX needs torch 2.8")
ONNX = (
    ("model=gru", "attention=additive", "attention.heads=2", "model.bidirectional=true"),
    ("model=rnn", "attention=none", "model.bidirectional=true"),
    ("model=lstm", "attention=dot", "model.layers=2"),
    ("model=peephole_lstm", "attention=none", "attention.reduce=max"),
    ("model=rnn", "attention=general"),
    ("model=gru", "attention=none", "attention.reduce=mean"),
    ("model=lstm", "attention=none", "model.layers=2"),
    ("model=gru_article", "attention=scaled_dot"),
)


@needs_torch
@pytest.mark.filterwarnings("ignore")  # onnx's own
@pytest.mark.parametrize("overrides", first_few(ONNX, 1), ids=" ".join)
def test_onnx_equals_the_model_on_other_shapes(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra export)")
    trained = untrained(tmp_path, *overrides)
    path = export(trained, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(path))
    generator = torch.Generator().manual_seed(2)
    for lengths in ([6, 1, 4], [1], [9, 2, 2, 40, 7], [3, 3]):
        inputs = torch.randint(0, 16, (len(lengths), max(lengths)), generator=generator)
        batch = Batch(inputs, torch.tensor(lengths), torch.zeros(0), torch.zeros(0))
        (found,) = session.run(None, {"inputs": inputs.numpy(), "lengths": batch.lengths.numpy()})
        expected = trained.model(batch).values
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)


@needs_torch
@pytest.mark.filterwarnings("ignore")  # onnx's own
def test_onnx_and_its_description_answer_as_the_model_does(tmp_path: Path) -> None:
    """What model.json has is enough: no part of Gatescope makes these inputs, or reads these values."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra export)")
    np.savez(tmp_path / "series.npz", x=SERIES * [1e3, 1e-3] + [5e4, 1], y=3e4 + 100 * SERIES.mean((1, 2)))
    trained = gatescope.load(
        trained_run(
            tmp_path / "runs",
            "data=series_file",
            f"data.path={tmp_path / 'series.npz'}",
            "data.kind=regression",
            "model=lstm",
        )
    )
    path = tmp_path / "deep" / "model.onnx"
    assert main([f"run={trained.directory}", f"out={path}"]) == 0
    described = json.loads(path.with_suffix(".json").read_text())
    mean, deviation = np.array(described["input_scale"])
    series = [np.array([[5e4, 1], [5.1e4, 1.001]]), np.array([[4.9e4, 0.999]])]
    inputs = np.zeros((2, 2, 2), np.float32)
    for row, one in zip(inputs, series, strict=True):
        row[: len(one)] = (one - mean) / deviation
    given = {"inputs": inputs, "lengths": np.array([2, 1])}
    (values,) = runtime.InferenceSession(str(path)).run(None, given)
    answers = [answer.value for answer in trained.predict(series)]
    assert values[:, 0] == pytest.approx(answers, rel=1e-5)
    assert described["probabilities"] is None


def test_models_that_cannot_be_exported_are_an_error(tmp_path: Path) -> None:
    trained = untrained(tmp_path, "model=mingru")
    for name in ("model.pt2", "model.onnx"):
        with pytest.raises(LoadError, match=r"layers of the kind MinGRU; .* use gatescope\.load"):
            export(trained, tmp_path / name)
    with pytest.raises(LoadError, match=r"written as \.onnx or \.pt2"):
        export(trained, tmp_path / "model.pkl")
