"""`gatescope.Callback` in a LightningModule of a user, with the loggers of a user."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import gatescope
from gatescope.watching.errors import WatchError

STEPS = 6


class Module(pl.LightningModule):
    """A tagger with an LSTM and a GRU that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.spare = nn.GRU(3, 4)
        self.head = nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.head(self.lstm(x)[0][:, -1]), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Linear(Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = self.spare = None


def fit(folder: Path, module: pl.LightningModule, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    pl.seed_everything(0, verbose=False)
    data = TensorDataset(torch.randn(8, 12, 3), torch.randn(8, 1))
    settings = {
        "max_steps": STEPS,
        "accelerator": "cpu",
        "logger": CSVLogger(folder, name="", version=""),
        "callbacks": list(callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "gradient_clip_val": 0.01,
    }
    trainer = pl.Trainer(**(settings | options))
    trainer.fit(module, DataLoader(data, batch_size=4))
    return trainer


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    import warnings

    warnings.filterwarnings("ignore", module="pytorch_lightning")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_measurements_are_in_the_users_log_and_training_does_not_change(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain, watched = Module(), Module()
    watched.load_state_dict(plain.state_dict())
    fit(tmp_path, plain, logger=False)
    fit(tmp_path, watched, gatescope.Callback(every_n_steps=2))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in watched.modules())

    found = rows(tmp_path)
    assert [row["step"] for row in found] == ["1", "3", "5"]
    names = {
        "gatescope/gradient_norm/before_clip",
        "gatescope/lstm/gates/layer0/keep/mean",
        "gatescope/lstm/gradient_flow/layer0/norm",
        "gatescope/lstm/gradient_flow/layer0/half_life",
        "gatescope/lstm/gradient_norm/layer0/recurrent_weights/forget",
    }
    assert all(float(row[name]) > 0 for row in found for name in names)
    assert all(abs(float(row["gatescope/gradient_norm/after_clip"]) - 0.01) < 1e-6 for row in found)


def test_norms_are_those_of_autograd(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Module()
    start = {name: value.clone() for name, value in module.state_dict().items()}
    fit(tmp_path, module, gatescope.Callback(), max_steps=1, gradient_clip_val=None, limit_train_batches=1)
    # One step of gradient descent at rate 0.5 shows the gradient.
    grads = {name: (start[name] - value) / 0.5 for name, value in module.state_dict().items()}
    (row,) = rows(tmp_path)
    total = torch.cat([g.flatten() for n, g in grads.items() if "spare" not in n]).norm()
    assert float(row["gatescope/gradient_norm/before_clip"]) == pytest.approx(total.item(), rel=1e-4)
    forget = grads["lstm.weight_hh_l0"].chunk(4)[1].norm().item()
    assert float(row["gatescope/lstm/gradient_norm/layer0/recurrent_weights/forget"]) == pytest.approx(
        forget, rel=1e-3
    )


def test_messages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WatchError, match="every_n_steps: given 0"):
        gatescope.Callback(every_n_steps=0)
    with pytest.raises(WatchError, match=r"Linear has no nn\.RNN"):
        fit(tmp_path, Linear(), gatescope.Callback())
    fit(tmp_path, Module(), gatescope.Callback(every_n_steps=1), logger=False)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("gatescope")]
    assert "the trainer has no logger" in messages[0]
    assert "spare: its forward pass has not run" in messages[1]
    assert len(messages) == 2
