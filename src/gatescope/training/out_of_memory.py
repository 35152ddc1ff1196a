"""The message of a run whose memory is exhausted: in which phase, which sizes fit, who uses the card."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.trainer.states import RunningStage

from gatescope.data.datamodule import EVALUATION_FACTOR, SequenceData
from gatescope.data.ragged import Ragged
from gatescope.sequences import Batch, Split
from gatescope.training.memory import (
    OutOfMemory,
    card_memory,
    free_frames,
    gib,
    is_of_the_card,
    is_out_of_memory,
    largest_fitting,
    machine_memory,
    release_memory,
)

log = logging.getLogger(__name__)

PHASES: dict[Any, tuple[str, Split]] = {
    RunningStage.TRAINING: ("a training step", "train"),
    RunningStage.SANITY_CHECKING: ("the sanity check", "validation"),
    RunningStage.VALIDATING: ("validation", "validation"),
    RunningStage.TESTING: ("the test", "test"),
}
"""By Lightning's stage, its name in messages and the split that it reads."""


class MemoryReport(pl.Callback):
    """Finds out which sizes fit when memory is exhausted, while the model is still on its card.

    The run has failed by then, so that trials may change weights, gradients and the state of the optimizer.

    Args:
        cfg: Config of the run.
        data: The data.
        checkpoint: Path of the checkpoint from which the run would continue, in `checkpoints/` of its record.
    """

    def __init__(self, cfg: DictConfig, data: SequenceData, checkpoint: Path) -> None:
        self.cfg, self.data, self.checkpoint = cfg, data, checkpoint
        self._message: str | None = None
        self._is_placed = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note that the model is moved to its device next."""
        self._is_placed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the model is on its device."""
        self._is_placed = True

    on_validation_start = on_test_start = on_train_start

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Keep the message, because Lightning moves the model to the CPU next."""
        if is_out_of_memory(exception):
            free_frames(exception)
            self._message = self._explain(trainer, pl_module, exception)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise `OutOfMemory` where the block exhausts the memory.

        Raises:
            OutOfMemory: Memory is exhausted.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(self._message or self._of_building(error)) from error

    def _of_building(self, error: BaseException) -> str:
        """Return the message where the model does not exist yet."""
        begin, remedy = f"out of memory in building the model{_request(error)}", self._smaller_model()
        return _sentences(begin, remedy, _memory(error, "cuda"), self._continuation())

    def _explain(self, trainer: pl.Trainer, module: Any, error: BaseException) -> str:
        """Return the message: phase, sizes that fit, memory, and how the run goes on."""
        phase, split = PHASES.get(trainer.state.stage, ("a step", "train"))
        where = (
            f"{phase} (step {trainer.global_step})" if self._is_placed else "placing the model on its device"
        )
        if not self._is_placed:
            remedy = self._smaller_than(module)
        elif is_of_the_card(error) and (split != "train" or trainer.world_size == 1):
            # Under DDP a backward pass would wait for the other processes.
            remedy = self._sizes_on_card(trainer, module, split)
        else:
            remedy = self._half(split)
        begin, memory = f"out of memory in {where}{_request(error)}", _memory(error, module.device)
        return _sentences(begin, remedy, memory, self._continuation())

    def _sizes_on_card(self, trainer: pl.Trainer, module: Any, split: Split) -> str:
        """Return the sizes that fit the card, found by trials with the longest sequences of a split."""
        ranks, factor = trainer.world_size, self._evaluation_factor(split)
        examples = getattr(self.data.splits, split)
        size = min(self.cfg.data.batch_size * factor // ranks, len(examples))

        def attempt(count: int) -> None:
            (train if split == "train" else evaluate)(trainer, module, self._longest(split, count))

        try:
            fit = largest_fitting(attempt, size, module.device)
        except Exception:  # after some errors CUDA answers nothing more in this process
            log.debug("trials of smaller batches failed", exc_info=True)
            return self._half(split)
        batch_size, steps = fit.size * ranks // factor, int(examples.lengths.max())
        if batch_size:
            tried = (
                f"data.batch_size={batch_size} was tried with the longest sequences ({steps} steps) and fits"
            )
            return "; ".join([tried, *self._same_updates(batch_size), *self._shorter(steps, fit.size / size)])
        taken = gib(torch.cuda.memory_allocated(module.device))
        return "; ".join(
            [
                f"not even data.batch_size={ranks} fits with the longest sequences ({steps} steps): the "
                f"model, its gradients and the state of the optimizer take {taken} without any; "
                f"{self._smaller_model()}",
                *self._shorter(steps, fit.size / size or 0.5 / size),
            ]
        )

    def _half(self, split: Split) -> str:
        """Return the advice where no trial is possible."""
        half = self.cfg.data.batch_size // 2
        if not half:
            return self._smaller_model()
        larger = f" (batches of {split} are {EVALUATION_FACTOR} times as large)"
        return f"try data.batch_size={half}{larger if self._evaluation_factor(split) > 1 else ''}"

    def _same_updates(self, batch_size: int) -> Iterator[str]:
        """Yield how to keep the number of examples of an update with smaller batches."""
        given = self.cfg.data.batch_size
        parts = next(k for k in range(1, given + 1) if given % k == 0 and given // k <= batch_size)
        if parts > 1:
            times = parts * int(self.cfg.trainer.get("accumulate_grad_batches", 1))
            yield (
                f"data.batch_size={given // parts} ++trainer.accumulate_grad_batches={times} keeps the "
                "number of examples of an update"
            )

    def _shorter(self, steps: int, share: float) -> Iterator[str]:
        """Yield the number of steps at which the given batch size takes about a share of the memory."""
        if self.cfg.data.get("max_length") is not None and int(steps * share):
            yield f"so does about data.max_length={int(steps * share)} with the given batch size"

    def _smaller_than(self, module: Any) -> str:
        weights = sum(p.numel() * p.element_size() for p in module.parameters())
        return (
            f"the weights alone take {gib(weights)}, their gradients as much again, and the state of the "
            f"optimizer may take more; {self._smaller_model()}"
        )

    def _smaller_model(self) -> str:
        model = self.cfg.model
        name = "hidden_size" if model.parameters is None else "parameters"
        return f"use a smaller model (model.{name} is {model[name]})"

    def _evaluation_factor(self, split: Split) -> int:
        return 1 if split == "train" or self.data.task.stateful else EVALUATION_FACTOR

    def _longest(self, split: Split, count: int) -> Batch:
        """Return the examples of a split with the most steps of inputs and targets."""
        examples = getattr(self.data.splits, split)
        has_steps = isinstance(examples.targets, Ragged)
        steps = examples.lengths + (examples.targets.lengths if has_steps else 0)
        return self.data.batch(split, np.argsort(steps, kind="stable")[-count:].tolist())

    def _continuation(self) -> str:
        """Return what becomes of this run, and what a run with another size is."""
        again = "continues it from its last checkpoint" if self.checkpoint.exists() else "starts it again"
        return (
            "with another size of batch or model it is another run, from step 0; the record of this one is "
            f"kept in {self.checkpoint.parents[1]}, and the same command {again}, for which more memory must "
            "be free"
        )


def train(trainer: pl.Trainer, module: Any, batch: Batch) -> None:
    """Do what one training step does, without logging: loss, gradients and an update."""
    module.train()
    if module.model.stack.recorded is not None:
        module.model.stack.record_gradients()  # as in the step that failed, whose recorded pass is freed
    optimizer = trainer.optimizers[0]
    optimizer.zero_grad(set_to_none=True)
    with trainer.precision_plugin.forward_context():
        loss = module.objective.training_loss(*_outputs(trainer, module, batch)).mean()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def evaluate(trainer: pl.Trainer, module: Any, batch: Batch) -> None:
    """Do what one step of validation or test does, without metrics."""
    module.eval()
    with trainer.precision_plugin.forward_context():
        values, targets = _outputs(trainer, module, batch)
        module.objective.loss(values, targets)
        module.objective.answer(module.model, batch.to(module.device), values, "validation")


def _outputs(trainer: pl.Trainer, module: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs of the head and the targets of a batch, on the device of the module."""
    batch = trainer.precision_plugin.convert_input(batch.to(module.device))
    # `forward`, because calling a compiled model compiles it again for every new size.
    return module.model.forward(batch).values, batch.targets


def instrument_message(
    what: str, error: BaseException, attempt: Callable[[int], object] | None = None, examples: int = 0
) -> str:
    """Return the message of measurements that exhaust the memory.

    Args:
        what: What was measured.
        error: The error.
        attempt: Measures a number of examples; None if the measurements do not depend on it.
        examples: Number of examples that did not fit.
    """
    begin = f"{what} ran out of memory{_request(error)}"
    remedy = "" if attempt is None else f"try instruments.examples={max(1, examples // 2)}"
    free_frames(error)
    try:
        release_memory()
        if attempt is not None and is_of_the_card(error):
            fits = largest_fitting(attempt, examples, "cuda").size
            remedy = f"instruments.examples={fits} was tried and fits" if fits else "not even one fits"
    except Exception:  # after some errors CUDA answers nothing more in this process
        log.debug("trials of fewer examples failed", exc_info=True)
    return _sentences(begin, remedy, _memory(error, "cuda"))


def _memory(error: BaseException, device: torch.device | str) -> str:
    """Return a sentence on the memory that `error` is about; empty if it cannot be read."""
    try:
        return card_memory(device) if is_of_the_card(error) else machine_memory()
    except Exception:  # CUDA answers nothing more, or the system has no /proc
        log.debug("the memory cannot be read", exc_info=True)
        return ""


def _request(error: BaseException) -> str:
    """Return ", when … were requested", as far as the error tells it."""
    found = re.search(r"tried to allocate ([\d.]+) (\w+)", str(error), re.IGNORECASE)
    if found is None:
        return ""
    amount = gib(float(found[1])) if found[2] == "bytes" else f"{found[1]} {found[2]}"
    return f", when {amount} were requested"


def _sentences(*parts: str) -> str:
    """Join parts of a message; the first is its beginning, the others begin with a capital letter."""
    first, *others = [part for part in parts if part]
    text = [f"{first}: {others[0]}" if others else first]
    return ". ".join([*text, *(part[0].upper() + part[1:] for part in others[1:])])
