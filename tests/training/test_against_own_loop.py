"""Complete runs, compared with an independent training loop (`own_loop`) in double precision, to 1e-6.

Each case is one run of `gatescope.run.run`; the tests check different results of the same runs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, ROOT
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from scipy.io import savemat
from training.own_loop import Killed, Plan, Replay, Tape, Weights, replay

from gatescope.run import RunResult, run

TOLERANCE = 1e-6
SINGLE = 1e-5
"""Tolerance in single precision, after a dozen updates."""

COMMON = (*FAST, "trainer.precision=64-true", "instruments=off", "checkpoint.every_seconds=null")
SIZES = ("data.train=64", "data.validation=40", "data.test=48", "data.batch_size=16")
UNEVEN = ("data.train=60", "data.validation=40", "data.test=48", "data.batch_size=16")
"""The last of four batches is smaller."""

BINARY = ("data=parity", "data.lag=5", "optimizer.lr=0.03", "model.embedding_size=4")
MULTICLASS = ("data=delayed_recall", "data.lag=4", "data.symbols=4", "data.distractors=3",
              "model.embedding_size=5", "optimizer.lr=0.02")  # fmt: skip
REGRESSION = ("data=adding", "data.steps=6", "optimizer.lr=0.02")
SYMBOLS = ("data=copy", "data.lag=2", "model.embedding_size=4", "optimizer.lr=0.02")
TEXTS = ("data=text_file", "data.path={texts}", "data.min_freq=1", "data.batch_size=16",
         "model.embedding_size=5", "optimizer.lr=0.02")  # fmt: skip
MUSIC = ("data=polyphonic_file", "data.path={music}", "data.batch_size=4", "optimizer.lr=0.02")
STREAMS = ("data=characters", "data.path={book}", "data.steps=9", "data.batch_size=4",
           "model.embedding_size=5", "optimizer.lr=0.02")  # fmt: skip
LETTERS = ("data=pairs_file", "data.path={letters}", "data.unit=character", "data.batch_size=16",
           "data.validation=0.2", "data.test=0.2", "model.embedding_size=5", "decoder.max_length=6",
           "optimizer.lr=0.03")  # fmt: skip
PAIRS = ("data=pairs_file", "data.path={pairs}", "data.batch_size=16", "data.validation=0.2", "data.test=0.2",
         "model.embedding_size=5", "decoder.max_length=8", "optimizer.lr=0.05")  # fmt: skip

CLIP = "trainer.gradient_clip_val=0.05"
VALUE = ("trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value")
FREE = "trainer.gradient_clip_val=null"
STACKED = ("model.layers=2", "model.dropout=0.3")
FORCING = ("decoder.teacher_forcing=0.4", "decoder.schedule_steps=3")


def epochs(count: int) -> str:
    return f"trainer.max_epochs={count}"


def accumulate(count: int) -> str:
    return f"+trainer.accumulate_grad_batches={count}"


CASES: dict[str, tuple[str, ...]] = {
    "binary": (*BINARY, *SIZES, CLIP, epochs(3)),
    "binary plateau": (
        *MULTICLASS, *SIZES, "data.symbols=2", FREE, epochs(6), "scheduler=plateau", "scheduler.patience=0",
    ),
    "binary, single precision": (
        *BINARY, *SIZES, CLIP, epochs(3), "trainer.precision=32-true", "optimizer=sgd", "optimizer.lr=0.1",
    ),
    "binary native": (*BINARY, *SIZES, CLIP, epochs(2), "kernel=native", "optimizer=sgd", "optimizer.lr=0.1"),
    "multi-class": (
        *MULTICLASS, *SIZES, *STACKED, CLIP, epochs(3), "model=lstm", "attention=additive",
        "attention.heads=2", "scheduler=cosine", "optimizer=adamw", "optimizer.weight_decay=0.1",
    ),
    "multi-class ragged": (
        *TEXTS, *STACKED, FREE, epochs(3), accumulate(2), "model.bidirectional=true", "kernel=native",
    ),
    "multi-class ragged attention": (
        *TEXTS, *VALUE, epochs(2), "model=lstm", "model.bidirectional=true", "attention=dot",
        "model.dropout=0.2",
    ),
    "regression": (*REGRESSION, *UNEVEN, FREE, epochs(4), "scheduler=cosine"),
    "regression value": (
        *REGRESSION, *UNEVEN, *VALUE, epochs(3), accumulate(3), "optimizer=sgd", "optimizer.nesterov=true",
        "optimizer.weight_decay=0.05",
    ),
    "regression steps": (
        *REGRESSION, *SIZES, CLIP, "trainer.max_epochs=-1", "trainer.max_steps=10", "scheduler=cosine",
    ),
    "regression both limits": (
        *REGRESSION, *UNEVEN, CLIP, epochs(3), "trainer.max_steps=5", accumulate(2), "scheduler=cosine",
        "scheduler.eta_min=0.001",
    ),
    "regression within an epoch": (*REGRESSION, *SIZES, CLIP, epochs(3), "trainer.max_steps=3"),
    "regression plateau": (
        *REGRESSION, *SIZES, CLIP, epochs(3), "+trainer.val_check_interval=2", "scheduler=plateau",
        "scheduler.patience=0", "optimizer.lr=0.3",
    ),
    "early stopping": (
        *BINARY, *SIZES, FREE, epochs(20), "early_stopping.patience=2", "optimizer.lr=0.01",
    ),
    "next step": (*SYMBOLS, *UNEVEN, CLIP, epochs(3), "model=rnn", accumulate(2), "model.dropout=0.2"),
    "next step loss": (*SYMBOLS, *SIZES, FREE, epochs(3), "data.scored=all", "kernel=native", "model=lstm"),
    "multi-label": (
        *MUSIC, CLIP, epochs(4), "model.dropout=0.2", "optimizer=adamw",
        "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.3",
    ),
    "stateful": (*STREAMS, *STACKED, CLIP, epochs(2), "scheduler=cosine"),
    "stateful native": (*STREAMS, FREE, epochs(2), "model=lstm", "kernel=native", accumulate(3)),
    "transduction": (
        *LETTERS, *STACKED, CLIP, epochs(2), "attention=additive", "model.bidirectional=true",
        "scheduler=cosine",
    ),
    "transduction fed its own": (
        *LETTERS, *FORCING, FREE, epochs(2), "decoder.layers=2", "attention=dot", "model.dropout=0.2",
    ),
    "transduction accumulated": (*LETTERS, *FORCING, CLIP, epochs(3), accumulate(2), "decoder.tied=true"),
    "transduction input feeding": (
        *LETTERS, FREE, epochs(2), "decoder=input_feeding", "decoder.max_length=6",
        "attention=additive", "model=lstm", "model.dropout=0.2", "decoder.beam=2",
    ),
    "transduction words": (*PAIRS, FREE, epochs(3), "attention=dot", "decoder.beam=2"),
}  # fmt: skip
RESUMED = {
    # The step in which the run is killed; the last checkpoint is at an even number of updates.
    "multi-class": 7,
    "binary plateau": 13,
    "regression plateau": 7,
    "early stopping": 9,
    "stateful": 5,
    "transduction fed its own": 7,
    "transduction accumulated": 3,
}
NAMES = [*CASES, *(f"{name}, resumed" for name in RESUMED)]


@dataclass
class Case:
    name: str
    cfg: DictConfig
    result: RunResult
    tape: Tape
    own: Replay

    @property
    def tolerance(self) -> float:
        return TOLERANCE if self.cfg.trainer.precision == "64-true" else SINGLE

    def close(self, found: Any, expected: Any) -> bool:
        return bool(found == pytest.approx(expected, rel=self.tolerance, abs=self.tolerance))

    def assert_weights(self, found: Weights, expected: Weights, where: str) -> None:
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            error = float((found[name].double() - value).abs().max())
            allowed = self.tolerance * (1 + float(value.abs().max()))
            assert error <= allowed, f"{where}, {name}: off by {error}"

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of the record with this value."""
        lines = (self.result.directory / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if name in row]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write small files of data with sequences of different lengths."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(5)
    words = {"up": ["good", "fine", "great"], "down": ["bad", "poor", "awful"], "flat": ["so", "it", "is"]}
    texts = ["text,label"]
    for label in rng.choice(list(words), 90):
        mixed = [*words[label], "the", "a", "film"]
        texts.append(f"{' '.join(rng.choice(mixed, rng.integers(1, 8)))},{label}")
    (folder / "texts.csv").write_text("\n".join(texts))
    cells = {}
    for name, count in (("traindata", 10), ("validdata", 4), ("testdata", 5)):
        cells[name] = np.empty((1, count), dtype=object)
        for i in range(count):
            cells[name][0, i] = (rng.random((rng.integers(3, 9), 88)) < 0.1).astype(np.uint8)
    savemat(folder / "music.mat", cells)
    (folder / "book.txt").write_text("the quick brown fox jumps over the lazy dog, and again: " * 8)
    pairs = {" ".join(rng.choice(["x", "y", "z"], rng.integers(3, 6))) for _ in range(120)}
    lines = [f"{source}\t{'a' if 'x' in source else 'b'} b a a b" for source in sorted(pairs)]
    lines += [f"{source}\tb b a a b" for source in sorted(pairs)[::4]]  # a second answer is accepted
    (folder / "pairs.tsv").write_text("\n".join(["source\ttarget", *lines]) + "\n")
    letters = {"".join(rng.choice(list("abcd"), rng.integers(2, 6))) for _ in range(200)}
    lines = [f"{source}\t{source[::-1][:3]}" for source in sorted(letters)[:100]]
    (folder / "letters.tsv").write_text("\n".join(["source\ttarget", *lines]) + "\n")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def cases(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Return a function that runs and replays a case by name, once."""
    known: dict[str, Case] = {}

    def made(name: str) -> Case:
        if name not in known:
            known[name] = _made(name, files, tmp_path_factory.mktemp("runs"))
        return known[name]

    return made


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)


@cache
def composed(overrides: tuple[str, ...], files: tuple[tuple[str, Path], ...] = ()) -> DictConfig:
    given = [one.format(**dict(files)) for one in overrides]
    groups = [
        one for one in given if one.split("=")[0] in ("data", "model", "optimizer", "attention", "decoder")
    ]
    rest = [one for one in given if one not in groups]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", ["recipe=none", *groups, *COMMON, *rest])


def _made(name: str, files: dict[str, Path], root: Path) -> Case:
    plain = name.removesuffix(", resumed")
    resumed = plain != name
    cfg = copy.deepcopy(composed(CASES[plain], tuple(files.items())))
    cfg.root = str(root)
    tape = Tape(dropout=cfg.model.dropout)
    if resumed:
        cfg.checkpoint.every_n_steps = 2
        tape.stop_at = RESUMED[plain]
        with tape.recording(), pytest.raises(Killed):
            run(cfg)
        tape.stop_at = None
    case = _made_of(name, cfg, tape)
    if resumed:
        (resumption,) = json.loads((case.result.directory / "run.json").read_text())["resumed"]
        assert RESUMED[plain] - resumption["step"] in (1, 2)
    return case


def _made_of(name: str, cfg: DictConfig, tape: Tape) -> Case:
    with tape.recording():
        result = run(cfg)
    assert result.data.splits is not None
    return Case(name, cfg, result, tape, replay(cfg, result.data.task, tape, len(result.data.splits.train)))


def test_the_loss_of_every_batch(case: Case) -> None:
    assert case.close([one.loss for one in case.tape.micros], case.own.losses)
    assert len(case.own.rates) == case.result.summary["steps"]


def test_the_weights_at_the_end_of_every_epoch(case: Case) -> None:
    found, expected = case.tape.at_epochs_end, case.own.at_epochs_end
    assert found.keys() == expected.keys()
    for epoch, weights in expected.items():
        case.assert_weights(found[epoch], weights, f"epoch {epoch}")


def test_the_rate_of_every_update(case: Case) -> None:
    plan = Plan(case.cfg, len(case.result.data.splits.train))
    found = [one.rate for one in case.tape.micros]
    last_of_update = {one.update: rate for one, rate in zip(case.tape.micros, found, strict=True)}
    assert case.close([last_of_update[k] for k in sorted(last_of_update)], case.own.rates)
    if case.cfg.scheduler:
        assert len(set(case.own.rates)) > 1, "the schedule did not act: the case shows nothing"
    if "factor" in case.cfg.scheduler:
        assert case.own.rates != case.own.opposite_rates, "the case does not show which way is better"
    stopped = case.cfg.early_stopping.patience is not None
    assert (len(case.own.rates) < plan.updates) == stopped


def test_each_example_once_an_epoch_in_another_order(case: Case) -> None:
    total = len(case.result.data.splits.train)
    by_epoch: dict[int, list[int]] = {}
    for one in case.tape.micros:
        by_epoch.setdefault(one.epoch, []).extend(one.batch.ids.tolist())
    orders = list(by_epoch.values())
    whole = [order for order in orders if len(order) >= total]
    assert all(sorted(order) == list(range(total)) for order in whole)
    assert all(len(set(order)) == len(order) for order in orders)
    if case.result.data.task.stateful:
        assert all(order == list(range(total)) for order in whole)
    else:
        assert len({tuple(order) for order in orders}) == len(orders)


def test_the_same_order_after_a_stop(cases: Callable[[str], Case]) -> None:
    for name in RESUMED:
        whole, resumed = (
            [one.batch.ids.tolist() for one in cases(n).tape.micros] for n in (name, f"{name}, resumed")
        )
        assert whole == resumed, name


def test_evaluation_takes_every_example_in_one_order(case: Case) -> None:
    splits = case.result.data.splits
    for stage, examples in (("validation", splits.validation), ("test", splits.test)):
        orders = [[i for batch in one.batches for i in batch.ids.tolist()] for one in case.tape.passes(stage)]
        assert all(order == orders[0] for order in orders)
        assert sorted(orders[0]) == list(range(len(examples)))


def test_every_validation(case: Case) -> None:
    """Check step, weights and all metrics of each validation."""
    own = case.own.validations
    assert own
    found = case.tape.passes("validation")
    assert [one.update for one in found] == [one.update for one in own]
    rows = case.rows("validation/loss")
    assert len(rows) == len(own)
    for one, expected, row in zip(found, own, rows, strict=True):
        case.assert_weights(one.weights, expected.weights, f"validation after {expected.update} updates")
        known = {name: value for name, value in row.items() if name.startswith("validation/")}
        assert case.close(without_chrf(known), expected.metrics)


def test_the_best_checkpoint(case: Case) -> None:
    own, metric = case.own, case.result.data.task.metric
    best = own.validations[own.best]
    saved = torch.load(case.result.directory / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["global_step"] == best.update
    weights = {n.removeprefix("model."): w for n, w in saved["state_dict"].items() if w.is_floating_point()}
    case.assert_weights(weights, best.weights, "best.ckpt")
    assert case.close(case.result.monitored, best.metrics[f"validation/{metric}"])
    assert case.close(case.result.summary[f"best/validation/{metric}"], best.metrics[f"validation/{metric}"])


def test_the_test_metrics_are_those_of_the_best_weights(case: Case) -> None:
    found = {name: value for name, value in case.result.summary.items() if name.startswith("test/")}
    assert case.close(without_chrf(found), case.own.test)


def test_rows_of_training_carry_the_number_of_updates_done(case: Case) -> None:
    rows = case.rows("train/loss")
    assert [row["step"] for row in rows] == list(case.own.updates)
    assert case.close([row["train/loss"] for row in rows], list(case.own.updates.values()))
    assert case.close([row["learning_rate"] for row in rows], case.own.rates)


def test_rows_of_an_epoch_carry_the_number_of_updates_done(case: Case) -> None:
    """Check the training metrics of an epoch, and validations."""
    assert [row["step"] for row in case.rows("validation/loss")] == [v.update for v in case.own.validations]
    name = next(iter(next(iter(case.own.training.values()))))
    found = {
        row["step"]: {n: v for n, v in row.items() if n.startswith("train/") and n != "train/loss"}
        for row in case.rows(name)
    }
    assert found.keys() == case.own.training.keys()
    for step, expected in case.own.training.items():
        assert case.close(found[step], expected), step


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("kernel", ["native", "torch"])
def test_hundreds_of_updates(tmp_path: Path, model: str, kernel: str) -> None:
    """Rounding errors stay within the tolerance of the short runs."""
    sizes = ("data.train=1024", "data.validation=256", "data.test=256", "data.batch_size=32")
    options = (*STACKED, CLIP, epochs(8), "attention=additive", "scheduler=cosine", f"kernel={kernel}")
    cfg = composed((*MULTICLASS, *sizes, *options, f"model={model}", f"root={tmp_path}"))
    case = _made_of(f"{model} {kernel}", cfg, Tape(dropout=cfg.model.dropout))
    assert len(case.own.rates) == 256
    test_the_loss_of_every_batch(case)
    test_the_weights_at_the_end_of_every_epoch(case)
    test_the_test_metrics_are_those_of_the_best_weights(case)


def without_chrf(metrics: dict[str, float]) -> dict[str, float]:
    """Return metrics without chrF, which another test compares with its definition."""
    return {name: value for name, value in metrics.items() if "chrf" not in name}
