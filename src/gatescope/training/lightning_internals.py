"""Undocumented interfaces of Lightning, and work-arounds for the overhead of libraries, in one place.

A new version of Lightning may break this module and no other. It was tested with Lightning 2.5.6 and 2.6.6
on torch 2.13.

The first part is required: exact resuming needs the state of Lightning's loops, and the validation of the
last weights needs to change its schedule. There is no documented interface for either.

The second part is optional: each work-around makes a training step faster and changes no number. The
environment variable ``GATESCOPE_WORKAROUNDS=0`` turns all of them off, which is the first thing to try if a
new version of a library causes trouble. The switch is read by `gatescope.startup.workarounds_enabled`.

How much longer a step takes without each of them, as processor time of a GRU with default instruments and one
thread, in blocks of 10 steps that alternate with blocks with all work-arounds (29 pairs, Lightning 2.6.6; a
work-around that does nothing gives up to 1 %):

    steps, batch, hidden units                  20, 16, 16    11, 32, 32    50, 128, 64
    step                                        3.8 ms        5.0 ms        17.1 ms
    `is_logging_step`                                61 %          42 %          11 %
    `SequenceTask.optimizer_zero_grad`                9 %           6 %           0 %
    `NullProfiler`                                    8 %           4 %           2 %
    `gatescope.training.gradients.clip_grad_norm`     5 %           7 %           2 %
    `keep_freed_pages`                                1 %           4 %           1 %

The last one acts on whole epochs more than on blocks of steps: the first epoch of the third setting took 8 %
longer without `keep_freed_pages` (one pair of processes). `gatescope.training.buffered_metrics` saves 11 %,
20 % and 3 % in the same way. It has no switch, because it sums in another order than unbuffered metrics do.
Not worth 3 %, and therefore not done, are: excluding the objects of the start from garbage collection during
`fit` alone (2 %; `gatescope.startup.imports_uncollected` excludes them from the start), not
filling uninitialised memory in torch's deterministic mode, and setting Lightning's name of the current hook
without torch's checks.
"""

from __future__ import annotations

import ctypes
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.profilers import PassThroughProfiler

from gatescope.startup import workarounds_enabled

# ---- Required: the state of the trainer


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of a trainer, which Lightning sets as an undeclared attribute."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def validate_after_this_batch(trainer: pl.Trainer) -> None:
    """Change the validation schedule such that the current batch is followed by a validation."""
    trainer.check_val_every_n_epoch = trainer.val_check_batch = 1


def restore_callback_metrics(trainer: pl.Trainer, metrics: dict[str, Any]) -> None:
    """Set logged values that schedulers and callbacks read before they are logged again."""
    trainer.callback_metrics.update(metrics)


def rewind_fit_loop(fit_loop: dict[str, Any]) -> None:
    """Move the saved progress of Lightning's loops back before the batch that was just fetched.

    Checkpoints are saved when a batch has been fetched and not used. Within an epoch, the progress becomes
    that after the hook `on_train_batch_end` of the previous batch, from which Lightning can resume. At the
    first batch of an epoch, it becomes that after the end of the previous epoch. At the end of training,
    nothing changes.

    Args:
        fit_loop: ``checkpoint["loops"]["fit_loop"]``, changed in place.
    """
    batch = fit_loop["epoch_loop.batch_progress"]
    current, total = batch["current"], batch["total"]
    if current["ready"] == current["started"]:
        return
    batch["is_last_batch"] = False
    for progress in (current, total):
        progress["ready"] -= 1
    if current["started"] == 0:
        epoch = fit_loop["epoch_progress"]
        for progress in (epoch["current"], epoch["total"]):
            progress["ready"] = progress["started"] = progress["processed"]
        fit_loop["state_dict"].pop("combined_loader", None)
    else:
        for progress in (current, total):
            progress["completed"] -= 1
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
        for loader in fit_loop["state_dict"]["combined_loader"]:
            loader["batches"] -= 1


def end_restart_between_epochs(trainer: pl.Trainer) -> None:
    """Mark a run that resumes between two epochs as not restarting.

    With `max_steps`, Lightning otherwise treats it as resumed within an epoch.
    """
    if trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0:
        for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop):
            loop.on_iteration_done()


def end_restart(trainer: pl.Trainer) -> None:
    """Mark a resumed run as not restarting once its first batch starts.

    Lightning otherwise keeps the mark until the epoch ends, and then skips the plateau scheduler.
    """
    if trainer.fit_loop.restarting:
        trainer.fit_loop.on_iteration_done()


def relocate_model_checkpoint(state: dict[str, Any], folder: Path) -> None:
    """Replace the folder of the paths in the state of a `ModelCheckpoint`; other states stay unchanged.

    Args:
        state: State of a callback in a checkpoint, changed in place.
        folder: Folder in which the checkpoints are now.
    """
    if "best_model_path" not in state:
        return

    def moved(path: str) -> str:
        return str(folder / Path(path).name) if path else path

    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state[key])
    state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
    state["dirpath"] = str(folder)


# ---- Optional: work-arounds for overhead


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
HEAP_BLOCK_BYTES = 32 << 20
"""Largest block that glibc allocates from its heap; its upper limit."""
HEAP_FREE_BYTES = 512 << 20
"""Free memory at the end of the heap that glibc returns to the system."""


def keep_freed_pages() -> bool:
    """Make the C library keep freed memory for later allocations; return whether it does (glibc only).

    By default glibc returns the activations of a step to the system and requests them again for the next
    step, with a page fault for every 4 KiB.
    """
    return workarounds_enabled() and _set_malloc_thresholds()


@cache
def _set_malloc_thresholds() -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_BYTES) and mallopt(M_TRIM_THRESHOLD, HEAP_FREE_BYTES))


def is_logging_step(trainer: pl.Trainer) -> bool:
    """Return whether Lightning passes what the current training step logs on to the loggers.

    At other steps Lightning discards it, after half of its overhead per step.
    """
    if not workarounds_enabled():
        return True
    interval = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set, but not declared
    return bool(interval) and ((trainer.global_step + 1) % interval == 0 or trainer.should_stop)


class NullProfiler(PassThroughProfiler):
    """A profiler that does nothing; Lightning's own runs a generator for each of 50 actions per step."""

    _context = nullcontext()

    def profile(self, action_name: str) -> Any:
        """Return a context manager that does nothing."""
        return self._context
