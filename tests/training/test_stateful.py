"""Truncated backpropagation: hidden states continue from batch to batch, gradients do not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import FAST, Compose
from pytorch_lightning import Trainer
from tracking.records import assert_same

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.rnn import RNN
from gatescope.data.files.characters import Characters
from gatescope.models.attention import Pooling
from gatescope.models.encoder import Encoder
from gatescope.run import run
from gatescope.tracking.checkpoint_callback import ResumeCheckpoint
from gatescope.tracking.identity import run_dir
from gatescope.training.module import SequenceTask

TEXT = "the quick brown fox jumps over the lazy dog, and again: " * 30


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return str(file)


def made(path, cell, steps, layers=2):
    data = Characters(path=path, steps=steps, batch_size=3, limit=None)
    data.setup()
    torch.manual_seed(0)
    model = Encoder(data.task, cell, lambda *_: Pooling(*_), hidden_size=5, layers=layers)
    return data, SequenceTask(model, partial(torch.optim.Adam, lr=0.01))


@pytest.mark.parametrize("cell", [RNN, GRU, LSTM, MinLSTM])
def test_pieces_with_continued_states_equal_one_long_sequence(path, cell):
    answers = []
    for steps in (7, 10_000):
        data, module = made(path, cell, steps)
        batches = list(data.test_dataloader())
        with torch.no_grad():
            answers.append(torch.cat([module._values(b, i, "test") for i, b in enumerate(batches)], dim=1))
    assert answers[1].shape[1] > 7
    torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-5)


def test_gradients_stop_where_a_batch_ends(path):
    data, module = made(path, LSTM, 7)
    first, second = list(data.train_dataloader())[:2]
    module._values(first, 0, "train")
    carried = {name: state for name, state in module.hidden_states["train"].items()}
    assert all(not part.requires_grad for state in carried.values() for part in state)
    module.objective.loss(module._values(second, 1, "train"), second.targets).mean().backward()
    found = [p.grad.clone() for p in module.model.parameters()]
    module.zero_grad()
    # The same from states that have no graph of the first batch.
    states = {name: type(state)(*(part.clone() for part in state)) for name, state in carried.items()}
    module.objective.loss(module.model(second, states).values, second.targets).mean().backward()
    for one, other in zip(found, module.model.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad)


def test_every_epoch_and_every_stage_starts_with_new_states(path):
    data, module = made(path, GRU, 7)
    batches = list(data.train_dataloader())
    fresh = module._values(batches[0], 0, "train")
    module._values(batches[1], 1, "train")
    module._values(next(iter(data.val_dataloader())), 0, "validation")
    torch.testing.assert_close(module._values(batches[0], 0, "train"), fresh)
    assert set(module.hidden_states) == {"train", "validation"}


def settings(path, root):
    return (
        "data=characters", f"data.path={path}", "data.steps=20", "data.batch_size=4", *FAST,
        "trainer.max_epochs=2", "model.layers=2", "checkpoint.every_n_steps=1", "instruments=off",
        "checkpoint.keep=all", f"root={root}",
    )  # fmt: skip


@pytest.mark.parametrize("model", ["gru", pytest.param("lstm", marks=pytest.mark.slow)])
def test_a_run_stopped_in_the_middle_of_a_text_continues_bit_for_bit(
    config: Compose, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    whole = run(config(*settings(path, tmp_path / "whole"), f"model={model}")).directory
    save = ResumeCheckpoint._save
    for last in (4, 20):  # in the first epoch of 17 batches, in the second
        cfg = config(*settings(path, tmp_path / str(last)), f"model={model}")

        def saving(self: ResumeCheckpoint, trainer: Trainer, last: int = last) -> None:
            save(self, trainer)
            if trainer.global_step == last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ResumeCheckpoint, "_save", saving)
            with pytest.raises(KeyboardInterrupt):
                run(cfg)
        assert_same(whole, run(cfg).directory)
        assert run_dir(cfg).exists()


def test_a_model_that_reads_backwards_is_refused(config: Compose, tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match=r"has read already: use model\.bidirectional=false"):
        run(config(*settings(path, tmp_path), "model.bidirectional=true"))


def test_training_learns_the_text(config: Compose, tmp_path: Path, path: str) -> None:
    more = ("trainer.max_epochs=6", "optimizer.lr=0.03", "model.hidden_size=24")
    cfg = config(*settings(path, tmp_path), *more, "checkpoint.every_n_steps=null")
    assert run(cfg).summary["test/bpc"] < 2  # of a text that repeats itself; a uniform guess costs 4.8 bits
