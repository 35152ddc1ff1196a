"""Every method of ours that a library must call is called by that library in a real run.

A hook that nobody calls fails in silence: training goes on without it. So the hooks are found by looking
through all classes of the package, counted while real runs go on, and each must have been called from the
code of a library, or be named below with the reason why not.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import FAST, ROOT, SMALL
from hydra import compose, initialize_config_dir, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset
from watching.test_callback import Module as Tagger

import gatescope
from gatescope import cli
from gatescope.data.examples import Splits
from gatescope.data.files.pairs_file import PairsFile
from gatescope.run import run
from gatescope.tracking.identity import run_id

# Not by an import statement: where Hydra has loaded the plugin first, its package has no such attribute.
OURS = (gatescope, importlib.import_module("hydra_plugins.gatescope_sweeper"))
LIBRARIES = {
    "hydra", "lightning_fabric", "lightning_utilities", "omegaconf", "pytorch_lightning", "torch",
    "torchmetrics", "wandb",
}  # fmt: skip
CALLED_BY_NAME = ("set_epoch", "sampler", "state_dict", "load_state_dict", "__getitems__", "to")
"""Methods that libraries call on any object that has them; no base class defines these."""
HOOK_PREFIXES = ("on_", "configure_", "optimizer_", "lr_scheduler_")
"""Prefixes of hooks of Lightning's classes."""

NOT_CALLED = {
    "gatescope.cells.layer.RecurrentLayer.forward": "for cells that have none of their own: see "
    "tests/cells/test_worked_example.py",
    "gatescope.cells.kernels.gpu.scan.Scan.forward": "on a GPU: see tests/cells/test_triton_kernels.py",
    "gatescope.cells.kernels.gpu.scan.Scan.backward": "on a GPU, as its forward",
    "gatescope.export.recurrence.OnnxLayer.forward": "torch.export calls it, after training: see "
    "tests/export/test_graph.py",
    "gatescope.export.graph._ExportedEncoder.forward": "torch.export calls it, after training: see "
    "tests/export/test_graph.py",
    "gatescope.watching.clamped_layer.ClampedLayer.forward": "Trained.trace calls it: see "
    "tests/watching/test_watched_trace.py",
    "gatescope.data.examples.Examples.__getitem__": "torch asks for __getitems__ where there is one; a "
    "Dataset must have both",
    "gatescope.training.buffered_metrics.BufferedMetrics.update": "SequenceTask calls it, where "
    "it would call MetricCollection's",
    "gatescope.training.transduction.JoinedWordErrorRate.update": "for characters with spaces: see "
    "tests/training/test_speech_recognition.py",
    "gatescope.data.speech.SpeechData.on_after_batch_transfer": "for recordings: see "
    "tests/training/test_speech_recognition.py",
    "gatescope.tracking.record_logger.RecordLogger.name": "abstract in Logger; Lightning names folders "
    "by it, which the run has set itself",
    "gatescope.tracking.record_logger.RecordLogger.version": "as its name",
    "gatescope.tracking.record_logger.RecordLogger.log_hyperparams": "abstract in Logger; Lightning "
    "calls it for a module with saved hyperparameters",
}
"""Hooks that no library calls in a run, each with its reason."""


# ---- The hooks


def modules(packages: Iterable[ModuleType]) -> Iterator[ModuleType]:
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def own_classes() -> list[type]:
    found = [
        one
        for module in modules(OURS)
        for one in vars(module).values()
        if inspect.isclass(one) and one.__module__ == module.__name__
    ]
    found = list(dict.fromkeys(found))
    plugins = Plugins.instance()  # Hydra loads its plugins itself, a second time
    return [plugins.class_name_to_class.get(f"{one.__module__}.{one.__qualname__}", one) for one in found]


def of_library(one: type) -> bool:
    return one.__module__.partition(".")[0] in LIBRARIES


def hooks_of(one: type) -> list[str]:
    """Return the methods and properties that override a library's, or that a library calls by name."""
    bases = [base for base in one.__mro__[1:] if of_library(base)]
    found = []
    for name, value in vars(one).items():
        private = name.startswith("_") and not name.endswith("__")
        method = inspect.isfunction(value) or isinstance(value, property | staticmethod | classmethod)
        if private or hasattr(object, name) or not method or getattr(value, "__isabstractmethod__", False):
            continue
        if name in CALLED_BY_NAME or any(name in vars(base) for base in bases):
            found.append(name)
    return found


def misspelt(one: type) -> list[str]:
    """Return the methods that are named like Lightning's hooks and are not hooks."""
    if not issubclass(one, pl.Callback | pl.LightningModule | pl.LightningDataModule):
        return []
    known = {name for base in one.__mro__[1:] if of_library(base) for name in vars(base)}
    return [name for name in vars(one) if name.startswith(HOOK_PREFIXES) and name not in known]


def full_name(one: type, name: str) -> str:
    return f"{one.__module__}.{one.__qualname__}.{name}"


HOOKS = {full_name(one, name): (one, name) for one in own_classes() for name in hooks_of(one)}


# ---- Counting


def counting(hook: str, function: Callable[..., Any], calls: Counter[str]) -> Callable[..., Any]:
    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"].partition(".")[0] in LIBRARIES:
            calls[hook] += 1
        return function(*args, **kwargs)

    return counted


def count_calls(patch: pytest.MonkeyPatch, hooks: dict[str, tuple[type, str]], calls: Counter[str]) -> None:
    """Count calls of these hooks by libraries from now on."""
    for hook, (one, name) in hooks.items():
        value = vars(one)[name]
        wrapped: Any
        if isinstance(value, property):
            assert value.fget is not None
            wrapped = property(counting(hook, value.fget, calls), value.fset, value.fdel)
        elif isinstance(value, staticmethod | classmethod):
            wrapped = type(value)(counting(hook, value.__func__, calls))
        else:
            wrapped = counting(hook, value, calls)
        patch.setattr(one, name, wrapped)


# ---- The runs


class Phonemes(PairsFile):
    """Pairs whose targets are phonemes."""

    def build(self) -> Splits:
        splits = super().build()
        return replace(splits, task=replace(splits.task, target_unit="phoneme", metric="exact_match"))


class Killed(Exception):
    pass


def config(root: Path, *overrides: str) -> Any:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", ["recipe=none", *overrides, f"root={root}"])


def run_stopped_and_resumed(root: Path) -> None:
    """Run with all instruments and loggers, killed and resumed; then with a worker process."""
    more = ("trainer.max_epochs=2", "attention=additive", "instruments=full", "instruments.every_n_steps=6")
    tracked = ("tracking=offline", "tracking.tensorboard=true", "checkpoint.every_n_steps=3")
    cfg = config(root, *SMALL, *FAST, *more, *tracked, "scheduler=plateau", "monitor_window=2")
    with pytest.MonkeyPatch.context() as patch:
        step = torch.optim.Adam.step
        steps: list[None] = []

        def dying(*args: Any, **kwargs: Any) -> Any:
            steps.append(None)
            if len(steps) == 6:
                raise Killed
            return step(*args, **kwargs)

        patch.setattr(torch.optim.Adam, "step", dying)
        with pytest.raises(Killed):
            run(cfg)
    run(cfg)
    stops = ("early_stopping.patience=1", "trainer.enable_progress_bar=true")
    run(config(root, *SMALL, *FAST, "data.workers=1", "scheduler=cosine", *stops))


def run_on_texts(root: Path) -> None:
    """Run on next characters, and on pairs of words and of phonemes."""
    (root / "book.txt").write_text("the quick brown fox jumps over the lazy dog " * 8)
    (root / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"a{i} b\tx y{i % 3}\n" for i in range(40)))
    run(config(root, "data=characters", f"data.path={root}/book.txt", "data.steps=9", "data.batch_size=4",
               *FAST, "instruments=off"))  # fmt: skip
    pairs = (
        "data=pairs_file",
        f"data.path={root}/pairs.tsv",
        "decoder.max_length=5",
        *FAST,
        "instruments=off",
    )
    run(config(root, *pairs))
    run(config(root, *pairs, f"data._target_={Phonemes.__module__}.Phonemes"))


def run_on_cells_without_a_kernel(root: Path) -> None:
    """Run the cells whose forward pass is neither torch's nor the native kernel's."""
    for cell in ("lru", "rglru"):
        run(config(root, *SMALL, *FAST, "instruments=off", f"model={cell}"))


def run_with_adversarial_attention(root: Path) -> None:
    """Run with attention that imitates another run."""
    sizes = ("data.lag=4", "data.symbols=2", "data.train=32", "data.validation=8", "data.test=8")
    run(config(root, "data=delayed_recall", *sizes, *FAST, "instruments=off", "attention=adversarial"))


def run_on_images(root: Path) -> None:
    """Run with convolutions of each frame before the recurrence."""
    sizes = ("data.train=16", "data.validation=8", "data.test=8", "data.batch_size=8", "decoder.max_length=3")
    run(config(root, "data=moving_digits", "front=conv", *sizes, *FAST, "instruments=off"))


def run_on_numbers(root: Path) -> None:
    """Run regressions on a scale of their targets, of one output and of two."""
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savez(root / "line.npz", x=x, y=20 + 5 * x[:, 0])
    np.savez(root / "lines.npz", x=x, y=20 + 5 * x[:, :2])
    for name in ("line", "lines"):
        words = ("data=series_file", f"data.path={root}/{name}.npz", "data.kind=regression")
        run(config(root, *words, *FAST, "instruments=off"))


def run_on_tags(root: Path) -> None:
    """Run on tagged sentences, whose spans are scored."""
    sentence = "Anna B-PER\nmet O\nTom B-PER\nFalk I-PER\n\n"
    (root / "tagged.conll").write_text(sentence * 30)
    run(config(root, "data=conll_file", f"data.path={root}/tagged.conll", *FAST, "instruments=off"))


def run_of_a_module_of_a_user(root: Path) -> None:
    """Train a module that is not of this package with `gatescope.Callback`, continue it, and let it fail."""

    def fit(module: pl.LightningModule, **options: Any) -> None:
        data = TensorDataset(torch.randn(8, 5, 3), torch.randn(8, 1))
        trainer = pl.Trainer(
            accelerator="cpu", default_root_dir=root, logger=CSVLogger(root), enable_progress_bar=False,
            enable_model_summary=False, callbacks=[gatescope.Callback(every_n_steps=1)], max_epochs=1,
            enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(module, DataLoader(data, batch_size=4), **options)
        trainer.save_checkpoint(root / "saved.ckpt")

    class Failing(Tagger):
        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            raise Killed

    fit(Tagger())
    fit(Tagger(), ckpt_path=root / "saved.ckpt")
    with pytest.raises(Killed):
        fit(Failing())


def sweep(root: Path) -> None:
    """Run two jobs as `python train.py -m` does."""
    version.setbase("1.3")
    handlers = logging.getLogger().handlers[:]
    hydra = Hydra.create_main_hydra2("train", create_config_search_path(str(ROOT / "conf")))
    try:
        hydra.multirun("config", cli.job, [*SMALL, *FAST, "instruments=off", f"root={root}", "seed=1,2"])
    finally:
        GlobalHydra.instance().clear()
        logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """Return how often libraries called each hook in all runs."""
    found: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        count_calls(patch, HOOKS, found)
        for runs in (
            run_stopped_and_resumed,
            run_on_texts,
            run_on_numbers,
            run_on_tags,
            run_on_cells_without_a_kernel,
            run_with_adversarial_attention,
            run_on_images,
            run_of_a_module_of_a_user,
            sweep,
        ):
            runs(tmp_path_factory.mktemp("runs"))
    return found


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook not in NOT_CALLED])
def test_a_library_calls_it(calls: Counter[str], hook: str) -> None:
    assert calls[hook], f"no library called {hook} in any run"


@pytest.mark.parametrize("hook", NOT_CALLED)
def test_listed_exceptions_are_not_called(calls: Counter[str], hook: str) -> None:
    assert hook in HOOKS, f"{hook} does not exist, or is no hook: take it out of NOT_CALLED"
    assert not calls[hook], f"{hook} is called: take it out of NOT_CALLED"


def test_methods_named_like_hooks_are_hooks() -> None:
    assert {one.__qualname__: misspelt(one) for one in own_classes() if misspelt(one)} == {}


def test_hydra_asks_the_resolver_for_the_directory_of_a_run(tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*SMALL, *FAST, f"root={tmp_path}"], return_hydra_config=True)
    assert cfg.hydra.run.dir == f"{tmp_path}/default/{run_id(cfg)}"
    assert cfg.hydra.sweep.subdir == run_id(cfg)


class _New(pl.Callback):
    """A callback with a hook that is called, one that is not called in a run, and a misspelt one."""

    def on_train_start(self, *_: Any) -> None: ...

    def on_predict_start(self, *_: Any) -> None: ...

    def on_train_begin(self, *_: Any) -> None: ...


def test_a_hook_that_nothing_calls_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hooks_of(_New) == ["on_train_start", "on_predict_start"]
    assert misspelt(_New) == ["on_train_begin"]
    found: Counter[str] = Counter()
    count_calls(monkeypatch, {name: (_New, name) for name in hooks_of(_New)}, found)
    new = _New()
    monkeypatch.setattr("gatescope.run.instrument_callbacks", lambda *_: [new])
    run(config(tmp_path, *SMALL, *FAST, "instruments=off"))
    new.on_predict_start()  # a call of one's own does not count
    assert found == {"on_train_start": 1}
