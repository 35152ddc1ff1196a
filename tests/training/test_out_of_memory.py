"""Memory that runs out in each phase of a run: the message, the record, and what the message advises.

There is no GPU: torch's functions on a card's memory are replaced by those of a card whose memory holds a
given number of examples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import Compose, first_few
from omegaconf import DictConfig
from tracking.records import record, rows

from gatescope import cli, machine
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements, scalar
from gatescope.instruments.probe import Probe
from gatescope.models.encoder import Encoder
from gatescope.models.seq2seq import Seq2Seq
from gatescope.models.stack import RecurrentStack
from gatescope.run import run
from gatescope.sequences import Batch
from gatescope.tracking.identity import run_dir
from gatescope.training import memory
from gatescope.training.memory import OutOfMemory

GIB = 2**30
CUDA_MESSAGE = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 16.00 GiB of which …"
)
"""The beginning of what torch 2.11 says."""


@dataclass
class Card:
    """A card of 16 GiB, of which 3 are used by others and 4 reserved by this process."""

    peak: int = 0

    def require(self, examples: int, limit: int) -> None:
        """Use the memory of a number of examples, or raise torch's error if it is more than the limit."""
        self.peak = examples * GIB // limit
        if examples > limit:
            raise torch.cuda.OutOfMemoryError(CUDA_MESSAGE)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    one = Card()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3 * GIB)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: one.peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    properties = SimpleNamespace(name="Example 16GB", uuid="01-23")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    answer = f"4321, 2048 MiB\n{os.getpid()}, 4096 MiB\n"
    monkeypatch.setattr(
        memory, "nvidia_smi", lambda *arguments: answer if "--id=GPU-01-23" in arguments else ""
    )
    return one


def limit_forward(
    monkeypatch: pytest.MonkeyPatch, card: Card, limit: int, training: bool, after: int = 0
) -> Callable[[], None]:
    """Let the passes of training, or those of evaluation, hold at most `limit` examples after some passes.

    Returns:
        A function that removes the limit.
    """
    passes = 0

    for kind in (Encoder, Seq2Seq):
        forward = kind.forward

        def limited(self: Any, batch: Batch, *more: Any, forward: Any = forward) -> Any:
            nonlocal passes
            if torch.is_grad_enabled() == training:
                passes += 1
                if passes > after:
                    card.require(len(batch.lengths), limit)
            return forward(self, batch, *more)

        monkeypatch.setattr(kind, "forward", limited)

    def remove() -> None:
        nonlocal limit
        limit = 10**9

    return remove


def failed(cfg: DictConfig) -> str:
    """Run a config and return the message, which the record must contain."""
    with pytest.raises(OutOfMemory) as caught:
        run(cfg)
    content = record(run_dir(cfg))
    assert (content["status"], content["exit_code"]) == ("failed", 1)
    assert content["reason"] == f"OutOfMemory: {caught.value}"
    assert cli.has_user_message(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "more",
    first_few(
        [*(f"trainer.precision={p}" for p in ("32-true", "64-true", "bf16-mixed")), "instruments=full"], 1
    ),
)
def test_a_training_step(small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    limit_forward(monkeypatch, card, 10, training=True)
    cfg = small(more)
    message = failed(cfg)
    assert message.startswith(
        "out of memory in a training step (step 0), when 2.00 GiB were requested: data.batch_size=10 was "
        "tried with the longest sequences (8 steps) and fits; "
        "data.batch_size=8 ++trainer.accumulate_grad_batches=2 keeps the number of examples of an update. "
        "Example 16GB has 16.0 GiB: 9.0 GiB are free, this run holds 4.0 GiB, of which its tensors take "
        "3.0 GiB, and CUDA and other processes hold 3.0 GiB (pid 4321: 2048 MiB). "
        "With another size of batch or model it is another run, from step 0; "
    )
    assert "starts it again" in message
    assert rows(run_dir(cfg), "readings")[0]["step"] == 0  # what was measured before is kept
    result = run(small("data.batch_size=8", "++trainer.accumulate_grad_batches=2"))
    assert result.directory != run_dir(cfg)
    assert result.summary["steps"] == 4  # as with batches of 16


def test_the_same_command_continues_when_there_is_more_memory(
    small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = limit_forward(monkeypatch, card, 10, training=True, after=3)
    cfg = small("checkpoint.every_n_steps=1")
    assert "the same command continues it from its last checkpoint" in failed(cfg)
    remove()
    result = run(cfg)
    assert result.summary["steps"] == 4
    assert record(result.directory)["resumed"][0]["step"] == 3


def test_a_size_that_leaves_no_margin_does_not_fit(card: Card) -> None:
    def attempt(size: int) -> None:  # 13 GiB can be used, of which 12.35 GiB within the margin
        card.peak = size * GIB

    assert memory.largest_fitting(attempt, 16, "cuda").size == 12


def test_another_error_of_a_trial_leaves_the_advice_to_try_half(
    small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_forward(monkeypatch, card, 10, training=True)

    def unusable(device: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", unusable)
    assert ": try data.batch_size=8. Example 16GB" in failed(small())
    monkeypatch.setattr(torch.cuda, "mem_get_info", unusable)
    assert ": try data.batch_size=8. With another size of batch" in failed(small("seed=1"))


def test_several_processes_try_nothing_that_waits_for_others(
    small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pl.Trainer, "world_size", 2)
    limit_forward(monkeypatch, card, 5, training=True)  # each process has 8 examples of a batch
    assert ": try data.batch_size=8. Example 16GB" in failed(small())


@pytest.mark.slow
def test_validation(small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_forward(monkeypatch, card, 20, training=False)  # batches are of 32, the whole split
    message = failed(small())
    assert "out of memory in validation (step 4)" in message
    assert "data.batch_size=5 was tried" in message  # evaluation uses batches of 4 · 5


@pytest.mark.slow
def test_the_test(small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = limit_forward(monkeypatch, card, 20, training=False, after=1)
    cfg = small()
    message = failed(cfg)
    assert "out of memory in the test (step 4)" in message
    assert "continues it from its last checkpoint" in message
    remove()
    assert record(run(cfg).directory)["status"] == "finished"


@pytest.mark.parametrize(
    ("training", "limit", "expected"),
    [(True, 3, "in a training step"), pytest.param(False, 5, "in the test", marks=pytest.mark.slow)],
)
def test_a_model_with_a_decoder(
    config: Compose,
    tmp_path: Path,
    card: Card,
    monkeypatch: pytest.MonkeyPatch,
    training: bool,
    limit: int,
    expected: str,
) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"a{i} b\tx y{i % 3}\n" for i in range(80)))
    limit_forward(monkeypatch, card, limit, training)
    message = failed(
        config(
            "data=pairs_file", f"data.path={path}", "data.batch_size=8", "decoder=input_feeding",
            "attention=additive", "model.hidden_size=6", "trainer.max_epochs=1", "tracking=off",
            "instruments=off",
        )
    )  # fmt: skip
    assert expected in message
    size = limit if training else 1  # evaluation uses batches of 4, and 2 · 4 are too many
    assert f"data.batch_size={size} was tried with the longest sequences (2 steps) and fits" in message


@pytest.mark.slow
def test_texts_may_also_be_cut(config: Compose, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_forward(monkeypatch, card, 8, training=True)
    texts = (
        "data=tweets",
        "data.limit=200",
        "data.max_length=12",
        "data.batch_size=16",
        "model.hidden_size=6",
    )
    message = failed(config(*texts, "trainer.max_epochs=1", "tracking=off", "instruments=off"))
    assert "data.batch_size=8 was tried with the longest sequences (12 steps) and fits" in message
    assert "so does about data.max_length=6 with the given batch size" in message


def test_not_even_one_sequence(small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_forward(monkeypatch, card, 0.5, training=True)  # type: ignore[arg-type]
    message = failed(small())
    assert "not even data.batch_size=1 fits with the longest sequences (8 steps)" in message
    assert "take 3.0 GiB without any; use a smaller model (model.hidden_size is 6)" in message


def test_a_model_that_is_larger_than_the_card(
    small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(strategy: Any) -> None:
        raise torch.cuda.OutOfMemoryError(CUDA_MESSAGE)

    monkeypatch.setattr(pl.strategies.SingleDeviceStrategy, "model_to_device", full)
    message = failed(small())
    assert "out of memory in placing the model on its device" in message
    assert "the weights alone take 0 MiB" in message


def test_a_model_that_is_larger_than_the_machine(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "memory", lambda: 2**63
    )  # what is estimated fits, and what is allocated does not
    message = failed(small("model.hidden_size=10000000"))
    assert message.startswith("out of memory in building the model, when ")
    assert "were requested: use a smaller model (model.hidden_size is 10000000). The machine has " in message


def test_the_memory_of_the_machine(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Encoder, batch: Batch, *more: Any) -> Any:
        return torch.empty(10**15)  # four petabytes

    monkeypatch.setattr(Encoder, "forward", forward)
    message = failed(small())
    assert message.startswith(
        "out of memory in a training step (step 0), when 3725290.3 GiB were requested: try "
        "data.batch_size=8. The machine has "
    )
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    found = re.search(r"The machine has ([\d.]+) GiB", message)
    assert found is not None
    assert float(found[1]) == pytest.approx(installed, rel=0.01)


@pytest.mark.slow
def test_the_pass_of_the_instruments(small: Compose, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Encoder.trace

    def limited(self: Encoder, batch: Batch) -> Any:
        card.require(len(batch.lengths), 5)
        return trace(self, batch)

    monkeypatch.setattr(Encoder, "trace", limited)
    cfg = small()
    message = failed(cfg)
    assert message.startswith(
        "the pass of the instruments at step 0 ran out of memory, when 2.00 GiB were requested: "
        "instruments.examples=5 was tried and fits. Example 16GB has 16.0 GiB"
    )
    repeated = small("instruments.examples=5")
    assert run_dir(repeated) == run_dir(cfg)
    assert run(repeated).summary["steps"] == 4


CARDS: list[Card] = []


class Hungry(ProbeInstrument):
    """An instrument that needs a card's memory for each example."""

    def read(self, probe: Probe) -> Measurements:
        CARDS[0].require(len(probe.batch.lengths), 6)
        return {"hungry/examples": scalar(len(probe.batch.lengths))}


def test_an_instrument(small: Compose, card: Card, caplog: pytest.LogCaptureFixture) -> None:
    CARDS[:] = [card]
    hungry = f"+instruments.readers.hungry={{_target_: {__name__}.Hungry}}"
    result = run(small(hungry, "instruments.every_n_steps=1"))
    assert record(result.directory)["status"] == "finished"
    (told,) = [r for r in caplog.records if "hungry" in r.message]
    assert told.message.startswith(
        "instrument hungry failed at step 0 and is switched off: it ran out of memory, when 2.00 GiB were "
        "requested: instruments.examples=6 was tried and fits. Example 16GB has 16.0 GiB"
    )
    assert told.exc_info is None
    assert {row["step"] for row in rows(result.directory, "readings")} == {0, 1, 2, 3, 4}


def test_the_training_pass_that_instruments_record(
    small: Compose, card: Card, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: RecurrentStack) -> None:
        raise torch.cuda.OutOfMemoryError(CUDA_MESSAGE)

    monkeypatch.setattr(RecurrentStack, "collect_gradients", refuse)
    run(small("instruments=full"))
    (told,) = [r for r in caplog.records if "training_signal" in r.message]
    assert (
        "and is switched off: it ran out of memory, when 2.00 GiB were requested: Example 16GB"
        in told.message
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError(CUDA_MESSAGE), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError("Unable to allocate 7.45 GiB for an array"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_are_about_memory(error: Exception, expected: bool) -> None:
    assert memory.is_out_of_memory(error) == expected
