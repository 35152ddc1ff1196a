"""Checkpoints from which a stopped run continues as if it had not been stopped.

A checkpoint is saved between two steps, when the next batch has been fetched and not used: the record then
contains all rows of the steps before, and any validation that was due has run. Another one is saved at the
end of training, before the test. `gatescope.tracking.checkpoint_files` describes the files.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from gatescope.tracking.checkpoint_files import LAST, STATE_KEY
from gatescope.tracking.directory import write_atomically
from gatescope.tracking.preemption import Preemption
from gatescope.tracking.process_state import get_process_state, set_process_state
from gatescope.training.lightning_internals import (
    end_restart,
    end_restart_between_epochs,
    relocate_model_checkpoint,
    restore_callback_metrics,
    rewind_fit_loop,
)
from gatescope.training.timing import add_overhead


class ResumeCheckpoint(Checkpoint):
    """Saves checkpoints at an interval and on preemption, and restores what Lightning does not.

    Args:
        directory: Directory of the run.
        position: Returns the position in the record, see `Record.position`.
        preemption: Handler of the signals of preemption.
        every_n_steps: Number of updates between two checkpoints; None: no limit.
        every_seconds: Seconds between two checkpoints; None: no limit.

    Attributes:
        overhead_seconds: Time spent saving checkpoints.
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
        self._process_state: dict[str, Any] | None = None
        self._metrics: dict[str, torch.Tensor] = {}
        self.overhead_seconds = 0.0

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the best weights of that time, and keep the state that is restored when training starts."""
        state = checkpoint[STATE_KEY]
        trainer.should_stop = state["should_stop"]
        folder = self.path.parent.resolve()  # the run's directory may have been moved
        for callback_state in checkpoint["callbacks"].values():
            relocate_model_checkpoint(callback_state, folder)
        if state["best"] is not None and trainer.is_global_zero:
            # Better weights that were saved after this checkpoint belong to steps that are repeated.
            best = folder / Path(state["best"]["path"]).name
            write_atomically(best, state["best"]["file"].numpy().tobytes())
        ranks = state["ranks"]
        self._process_state = ranks[trainer.global_rank % len(ranks)]
        self._metrics = state["metrics"]
        self._saved_step = int(checkpoint["global_step"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handler and restore the state of a loaded checkpoint."""
        self.preemption.install()  # Lightning's own handler ends the process without a checkpoint
        self.preemption.deferred = True
        self._saved_at = time.monotonic()
        if self._process_state is not None:
            set_process_state(pl_module, self._process_state)
            self._process_state = None
            restore_callback_metrics(trainer, self._metrics)
            end_restart_between_epochs(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint if one is due, and stop if the run was preempted.

        Raises:
            SIGTERMException: The run was preempted.
        """
        end_restart(trainer)
        if trainer.global_step == 0 or batch_idx % trainer.accumulate_grad_batches:
            return
        any_rank = trainer.strategy.reduce_boolean_decision
        is_preempted = any_rank(self.preemption.received is not None, all=False)
        if is_preempted or any_rank(self._is_due(trainer.global_step), all=False):
            self._save(trainer)
        if is_preempted:
            raise SIGTERMException(self.preemption.received or signal.SIGTERM.name)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last state of training, and stop if the run was preempted.

        Raises:
            SIGTERMException: The run was preempted.
        """
        self._save(trainer)
        self.preemption.deferred = False
        if trainer.strategy.reduce_boolean_decision(self.preemption.received is not None, all=False):
            raise SIGTERMException(self.preemption.received or signal.SIGTERM.name)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Let signals stop the process at once from now on."""
        self.preemption.deferred = False

    def _is_due(self, step: int) -> bool:
        by_steps = self.every_n_steps is not None and step - self._saved_step >= self.every_n_steps
        by_time = self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds
        return step != self._saved_step and (by_steps or by_time)

    def _save(self, trainer: pl.Trainer) -> None:
        with add_overhead(self):
            trainer.save_checkpoint(self.path)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state that Lightning does not save."""
        rewind_fit_loop(checkpoint["loops"]["fit_loop"])
        checkpoint[STATE_KEY] = {
            "position": self.position(),
            "should_stop": trainer.should_stop,
            "metrics": dict(trainer.callback_metrics),
            "best": _best_checkpoint(trainer),
            "ranks": _gather(get_process_state(pl_module)),
        }


def _gather(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [state]
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, state)
    return states


def _best_checkpoint(trainer: pl.Trainer) -> dict[str, Any] | None:
    """Return path and content of the best checkpoint so far."""
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or not best.best_model_path:
        return None
    file = torch.frombuffer(bytearray(Path(best.best_model_path).read_bytes()), dtype=torch.uint8)
    return {"path": best.best_model_path, "file": file}
