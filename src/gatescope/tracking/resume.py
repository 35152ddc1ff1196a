"""Checkpoints from which a run that was stopped anywhere goes on as if it had not been.

    checkpoints/last.ckpt      everything that the rest of the run depends on, and where the record stood
    checkpoints/last-1.ckpt    the one before
    checkpoints/*.broken       set aside: truncated or corrupted

Both are removed when the run has finished, unless `checkpoint.keep=all`: the best weights are kept.

A checkpoint is taken between two steps, before the next batch is used: all rows of the steps before are in
the record then, and validation, where it was due, has been done. Or at the end of training, before the test.
"""

from __future__ import annotations

import io
import logging
import os
import random
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torchmetrics import Metric

from gatescope.cells.state import State
from gatescope.models.stack import HiddenState
from gatescope.tracking.directory import RecordError, replace
from gatescope.training.housekeeping import counted_as_overhead
from gatescope.training.module import SequenceTask

log = logging.getLogger(__name__)

LAST, BEFORE, BEST = "last.ckpt", "last-1.ckpt", "best.ckpt"
OURS = "gatescope"
"""Key of a checkpoint under which lies what Lightning does not keep."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read whole. `position`: where the record stood, see `Record.position`."""

    path: Path
    step: int
    position: dict[str, Any]


def find(directory: Path) -> Saved | None:
    """The newest usable checkpoint of a run; those that are not are named and set aside as `*.broken`."""
    for name in (LAST, BEFORE):
        path = directory / "checkpoints" / name
        if not path.exists():
            continue
        try:
            return _read(path, directory)
        except Exception as error:  # whatever a torn file makes torch, zipfile or pickle raise
            broken = path.with_name(f"{name}.broken")
            path.replace(broken)
            log.warning("%s cannot be used (%s); set aside as %s", path, error, broken.name)
    return None


def weights_of(directory: Path) -> Path | None:
    """Return the checkpoint whose weights a run has: the best on validation, else the last; None without."""
    folder = directory / "checkpoints"
    return next((path for name in (BEST, LAST) if (path := folder / name).exists()), None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        Exception: whatever a torn file makes torch, zipfile or pickle raise, and ValueError for a wrong sum.
    """
    with zipfile.ZipFile(path) as archive:  # torch itself checks no sums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is corrupted")
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved


def _read(path: Path, directory: Path) -> Saved:
    saved = read_checkpoint(path)
    position: dict[str, Any] = saved[OURS]["position"]
    for name, length in position["files"].items():
        file = directory / name
        if (file.stat().st_size if file.exists() else 0) < length:
            raise ValueError(f"{name} is shorter than when it was saved")
    return Saved(path, int(saved["global_step"]), position)


def tidy(directory: Path, keep: str) -> None:
    """Removes the checkpoints of a finished run that nothing goes on from, and what a kill left half written.

    Args:
        keep: "all" keeps the checkpoints; "best" the weights of the run: the best on validation, or the last
            where no validation ran.
    """
    folder = directory / "checkpoints"
    unneeded = list(folder.glob(".*.ckpt.*"))
    if keep == "best":
        unneeded += [folder / name for name in (LAST, BEFORE) if name == BEFORE or (folder / BEST).exists()]
    for path in unneeded:
        with suppress(OSError):
            path.unlink(missing_ok=True)


class AtomicIO(TorchCheckpointIO):
    """Writes beside the file, to the disk, then renames: a kill leaves the old or the new, never half."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """
        Raises:
            RecordError: it cannot be written; what stood there before still does.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path = Path(path)
        write_bytes(path, buffer.getbuffer(), keep=path.with_name(BEFORE) if path.name == LAST else None)


def write_bytes(path: Path, data: bytes | memoryview, keep: Path | None = None) -> None:
    """Replaces a file atomically; `keep` is where the old one goes.

    Raises:
        RecordError: it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise RecordError.unwritten(path, error) from error


class Preemption:
    """SIGTERM and SIGUSR1 (SLURM) end the run: at once, or while `waits`, after the step under way."""

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.received: str | None = None
        self.waits = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, signal.Signals(number).name
        if again or not self.waits:
            raise SIGTERMException(self.received)

    def listen(self) -> None:
        """Takes the signals; only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                signal.signal(number, self)


@contextmanager
def preemptible() -> Iterator[Preemption]:
    """Turns the signals of preemption into SIGTERMException, and gives them back at the end."""
    before = {number: signal.getsignal(number) for number in Preemption.SIGNALS}
    preemption = Preemption()
    preemption.listen()
    try:
        yield preemption
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


class Checkpoints(Checkpoint):
    """Saves at a cadence and on preemption, and restores what Lightning does not.

    Args:
        position: where the record stands now, with all that was recorded on the disk.
        every_n_steps: a checkpoint each so many updates of the weights; None: not by steps.
        every_seconds: and each so many seconds; None: not by time.
    """

    def __init__(
        self,
        directory: Path,
        position: Callable[[], dict[str, Any]],
        preemption: Preemption,
        every_n_steps: int | None,
        every_seconds: float | None,
    ) -> None:
        self.path = directory / "checkpoints" / LAST
        self.position, self.preemption = position, preemption
        self.every_n_steps, self.every_seconds = every_n_steps, every_seconds
        self._saved_at, self._saved_step = time.monotonic(), 0
        self._loaded: dict[str, Any] | None = None
        self._metrics: dict[str, torch.Tensor] = {}
        self.overhead_seconds = 0.0

    def on_load_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint[OURS]
        trainer.should_stop = kept["should_stop"]
        folder = self.path.parent.resolve()
        for state in checkpoint["callbacks"].values():
            _move(state, folder)
        if kept["best"] is not None and trainer.is_global_zero:
            # A best one that was saved after this checkpoint is not a part of this run.
            write_bytes(folder / Path(kept["best"]["path"]).name, kept["best"]["file"].numpy().tobytes())
        ranks = kept["ranks"]
        self._loaded = ranks[trainer.global_rank % len(ranks)]
        self._metrics = kept["metrics"]
        self._saved_step = int(checkpoint["global_step"])

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.preemption.listen()  # Lightning's own handler leaves before a checkpoint can be taken
        self.preemption.waits = True
        self._saved_at = time.monotonic()
        if self._loaded is not None:
            restore(module, self._loaded)
            self._loaded = None
            trainer.callback_metrics.update(self._metrics)  # for a scheduler that waits for validation
            if trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0:
                # Between epochs nothing is to be made up for; with max_steps Lightning believes otherwise.
                for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop):
                    loop.on_iteration_done()

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop.restarting:
            # Lightning would hold this until the epoch ends, and skip the plateau scheduler there.
            trainer.fit_loop.on_iteration_done()
        if trainer.global_step == 0 or batch_idx % trainer.accumulate_grad_batches:
            return
        any_rank = trainer.strategy.reduce_boolean_decision
        preempted = any_rank(self.preemption.received is not None, all=False)
        if preempted or any_rank(self._due(trainer.global_step), all=False):
            self._save(trainer)
        if preempted:
            raise SIGTERMException(self.preemption.received or signal.SIGTERM.name)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._save(trainer)
        self.preemption.waits = False
        if trainer.strategy.reduce_boolean_decision(self.preemption.received is not None, all=False):
            raise SIGTERMException(self.preemption.received or signal.SIGTERM.name)

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        self.preemption.waits = False

    def _due(self, step: int) -> bool:
        by_steps = self.every_n_steps is not None and step - self._saved_step >= self.every_n_steps
        by_time = self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds
        return step != self._saved_step and (by_steps or by_time)

    def _save(self, trainer: pl.Trainer) -> None:
        with counted_as_overhead(self):
            trainer.save_checkpoint(self.path)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def on_save_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        rewind(checkpoint["loops"]["fit_loop"])
        checkpoint[OURS] = {
            "position": self.position(),
            "should_stop": trainer.should_stop,
            "metrics": dict(trainer.callback_metrics),
            "best": _best(trainer),
            "ranks": _gathered(rank_state(module)),
        }


def rewind(fit_loop: dict[str, Any]) -> None:
    """Lightning's progress, taken when a batch had been fetched, as it was before that.

    Within an epoch: as after the hook `on_train_batch_end` of the batch before, from which Lightning resumes
    in the middle of an epoch. At its first batch: as after the end of the epoch before.
    """
    batch = fit_loop["epoch_loop.batch_progress"]
    now, total = batch["current"], batch["total"]
    if now["ready"] == now["started"]:  # at the end of training
        return
    batch["is_last_batch"] = False
    for progress in (now, total):
        progress["ready"] -= 1
    if now["started"] == 0:
        epoch = fit_loop["epoch_progress"]
        for progress in (epoch["current"], epoch["total"]):
            progress["ready"] = progress["started"] = progress["processed"]
        fit_loop["state_dict"].pop("combined_loader", None)
    else:
        for progress in (now, total):
            progress["completed"] -= 1
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
        for loader in fit_loop["state_dict"]["combined_loader"]:
            loader["batches"] -= 1


def rank_state(module: pl.LightningModule) -> dict[str, Any]:
    """What differs between processes: states of random generators, of metrics over half an epoch, and of
    layers in the middle of a text."""
    _, numbers, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  libraries still draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(np.asarray(numbers).astype(np.int64)), *rest],
        "python": random.getstate(),
        "metrics": {
            name: {"count": metric._update_count, "state": metric.metric_state}
            for name, metric in _metrics(module)
        },
        "waiting": _waiting(module),
        "carried": {name: list(state) for name, state in _carried(module).items()},
    }


def restore(module: pl.LightningModule, state: dict[str, Any]) -> None:
    """Sets what `rank_state` gave."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    numbers, *rest = state["numpy"]
    np.random.set_state(("MT19937", numbers.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
    for name, metric in _metrics(module):
        kept = state["metrics"][name]
        metric._update_count = kept["count"]
        for key, value in kept["state"].items():
            setattr(metric, key, value.to(metric.device))
    waiting = state.get("waiting", [])  # older checkpoints have none
    _waiting(module)[:] = [[part.to(module.device) for part in outcome] for outcome in waiting]
    for name, (h, c) in state["carried"].items():
        _carried(module)[name] = State(h.to(module.device), None if c is None else c.to(module.device))


def _metrics(module: pl.LightningModule) -> Iterator[tuple[str, Metric]]:
    for name, part in module.named_modules():
        if isinstance(part, Metric) and name.startswith("train_metrics."):
            yield name, part


def _waiting(module: pl.LightningModule) -> list[list[Tensor]]:
    """Outcomes that the metrics over half an epoch have not taken yet."""
    return module.train_metrics.waiting if isinstance(module, SequenceTask) else []


def _carried(module: pl.LightningModule) -> HiddenState:
    """The states that training carries from a batch to the next."""
    carried: HiddenState = module.carried.setdefault("train", {}) if isinstance(module, SequenceTask) else {}
    return carried


def _gathered(state: dict[str, Any]) -> list[dict[str, Any]]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [state]
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, state)
    return states


def _move(state: dict[str, Any], folder: Path) -> None:
    """Paths within a ModelCheckpoint's state, where the run's directory may have been moved since."""
    if "best_model_path" not in state:
        return

    def moved(path: str) -> str:
        return str(folder / Path(path).name) if path else path

    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state[key])
    state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
    state["dirpath"] = str(folder)


def _best(trainer: pl.Trainer) -> dict[str, Any] | None:
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or not best.best_model_path:
        return None
    file = torch.frombuffer(bytearray(Path(best.best_model_path).read_bytes()), dtype=torch.uint8)
    return {"path": best.best_model_path, "file": file}
