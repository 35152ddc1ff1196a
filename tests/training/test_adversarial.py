"""Attention trained to differ from that of another run, against SciPy's divergences and through `run`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAST, Compose
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from gatescope.config import ConfigError
from gatescope.loading import load
from gatescope.run import run
from gatescope.sequences import probabilities
from gatescope.training.adversarial import AdversarialTask, imitated_config

RECALL = (
    "data=delayed_recall", "data.lag=6", "data.symbols=3", "data.train=96", "data.validation=32",
    "data.test=40", "data.batch_size=16", *FAST, "instruments=off",
)  # fmt: skip


@pytest.mark.parametrize("heads", [1, 2])
def test_the_other_run_is_trained_first_and_both_are_compared(config: Compose, heads: int) -> None:
    options = (*RECALL, f"attention.heads={heads}", "optimizer.lr=0.02", "trainer.max_epochs=3")
    cfg = config(*options, "attention=adversarial", "attention.divergence=0.05")
    result = run(cfg)
    other = run(config(*options, "attention=additive"))
    assert imitated_config(cfg) is not None
    assert other.directory.parent == result.directory.parent
    ids = [json.loads((one.directory / "run.json").read_text())["status"] for one in (result, other)]
    assert ids == ["finished", "finished"]

    data = result.data
    data.setup()
    tvd, jsd = [], []
    ours, theirs = (load(one.directory.name, cfg.root) for one in (result, other))
    for batch in data.test_dataloader():
        outputs = [one.model.eval()(batch) for one in (ours, theirs)]
        p, q = (probabilities(data.task, one.values).detach().numpy() for one in outputs)
        a, b = (one.attention.detach().numpy() for one in outputs)
        tvd += (abs(p - q).sum(1) / 2).tolist()
        jsd += (jensenshannon(a, b, axis=-1) ** 2).mean(1).tolist()
    assert len(tvd) == 40
    assert result.summary["test/imitation_tvd"] == pytest.approx(sum(tvd) / 40, rel=1e-4)
    assert result.summary["test/attention_jsd"] == pytest.approx(sum(jsd) / 40, rel=1e-4)
    assert result.summary["test/attention_jsd"] > 0.005


def test_the_loss_is_that_of_the_paper(config: Compose) -> None:
    result = run(config(*RECALL, "attention=adversarial", "attention.divergence=0.3"))
    task, other = result.module, run(config(*RECALL, "attention=additive")).module
    assert isinstance(task, AdversarialTask)
    assert other is not None
    task.imitate(other.model)
    batch = next(iter(result.data.train_dataloader()))
    with torch.no_grad():
        values = task.eval()._values(batch, 0, "train")
        found = task._minimised(torch.zeros(len(values)), values, batch)
        expected = other.model(batch)
    p, q = (probabilities(result.data.task, one).numpy() for one in (values, expected.values))
    a, b = (one[:, 0].numpy() for one in (task._output.attention, expected.attention))
    assert found.tolist() == pytest.approx(
        (abs(p - q).sum(1) / 2 - 0.3 * entropy(a, b, axis=1)).tolist(), abs=1e-5
    )


def test_a_finished_other_run_is_not_trained_again(config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    other = run(config(*RECALL, "attention=additive"))
    trained: list[Any] = []
    original = AdversarialTask.training_step
    monkeypatch.setattr(
        AdversarialTask, "training_step", lambda self, *args: (trained.append(None), original(self, *args))[1]
    )
    before = (other.directory / "run.json").read_bytes()
    result = run(config(*RECALL, "attention=adversarial"))
    assert len(trained) == 6
    assert (other.directory / "run.json").read_bytes() == before
    assert {path.name for path in Path(result.directory.parent).glob("gru-*")} == {
        result.directory.name, other.directory.name
    }  # fmt: skip


def test_what_it_cannot_be_trained_on(
    config: Compose, small: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for cfg, message in (
        (small("attention=adversarial"), "give data with one class each"),
        (config(*RECALL, "attention=adversarial", "loss._target_=torch.nn.CrossEntropyLoss"), "leave it out"),
        (config(*RECALL, "attention=adversarial", "attention.divergence=-1"), "divergence"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(cfg)
    assert not list(Path(cfg.root).glob("*/*/run.json"))
