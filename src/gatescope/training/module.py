"""The LightningModule: loss, metrics and optimiser of any model on any task."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MetricCollection

from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.models.encoder import SequenceModel
from gatescope.models.seq2seq import Seq2Seq
from gatescope.models.stack import HiddenState
from gatescope.sequences import Batch, TaskSpec
from gatescope.training.loop import ends_training
from gatescope.training.objective import objective_for
from gatescope.training.predictions import Columns, batch_columns, gathered, joined
from gatescope.training.schedules import lr_scheduler_config
from gatescope.training.waiting import WaitingMetrics


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message gives the step and the last gradient norms."""


class SequenceTask(pl.LightningModule):
    """Trains `model` on the task it was built for.

    Args:
        optimizer: makes the optimiser from parameters (a partial).
        scheduler: makes the learning-rate scheduler from the optimiser, or None.
    """

    def __init__(
        self,
        model: SequenceModel,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler | ReduceLROnPlateau] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = model.task
        self.objective = objective_for(model.task)
        self._optimizer, self._scheduler = optimizer, scheduler
        metrics = self.objective.metrics()
        self.train_metrics = WaitingMetrics(self.objective.training_metrics(), prefix="train/")
        self.validation_metrics = metrics.clone(prefix="validation/")
        self.test_metrics = metrics.clone(prefix="test/")
        self.carried: dict[str, HiddenState] = {}
        """By stage, the states in which the last batch ended, where the data are stateful."""
        self.predictions: Columns = {}
        """Of the last test, see `gatescope.tracking.predictions`; on rank 0, of all ranks."""
        self._tested: list[Columns] = []
        self.recent_norms: deque[Tensor] = deque(maxlen=5)
        """Gradient norms of the last steps before clipping, for the message of a NaN loss."""
        self.clipped_steps: Tensor | int = 0
        """Steps so far in which clipping acted (kept as a tensor, so that no step waits for the device)."""
        self._update_losses: list[tuple[Tensor, int]] = []
        """Mean loss and examples of each batch that the update under way has accumulated."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":
            # The hook that runs: Lightning says so fifty times a step, and torch would look for parameters.
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, batch: Batch) -> Tensor:
        return self.model(batch).values

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if isinstance(self.model, Seq2Seq):
            self.model.updates = self.global_step
        return self._shared_step(batch, batch_idx, self.train_metrics, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._shared_step(batch, batch_idx, self.validation_metrics, "validation")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._shared_step(batch, batch_idx, self.test_metrics, "test")

    def _values(self, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        """Where the data are stateful, from the states in which the batch before ended."""
        if not self.task.stateful:
            return self(batch)
        if batch_idx == 0:
            self.carried[stage] = {}
        return self.model(batch, self.carried[stage]).values

    def _shared_step(self, batch: Batch, batch_idx: int, metrics: MetricCollection, stage: str) -> Tensor:
        values = self._values(batch, batch_idx, stage)
        losses = self.objective.loss(values, batch.targets)
        shared = losses.mean()
        loss, size = shared.detach(), losses.shape[0]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            shared, loss, size = over_ranks(losses)
        if not math.isfinite(loss.item()):
            raise NonFiniteLoss(self._describe_divergence(stage, loss.item()))
        if stage != "train":
            # Equal on all ranks: the mean over them that an epoch's end takes changes nothing.
            self.log(f"{stage}/loss", loss, batch_size=size, on_step=False, on_epoch=True, sync_dist=True)
        else:
            self._log_update(loss, size, batch_idx)
        outcome = self._outcome(values.detach(), batch, stage)
        metrics.update(*outcome)
        if stage == "test":
            own = self.objective.columns(values.detach(), batch.targets, outcome)
            self._tested.append(batch_columns(batch.ids, losses, own))
        return shared

    def _log_update(self, loss: Tensor, size: int, batch_idx: int) -> None:
        """Log the loss of all batches that make one update, and its learning rate, with the last of them."""
        trainer = self.trainer
        self._update_losses.append((loss, size))
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        losses, self._update_losses = self._update_losses, []
        # Lightning drops what is logged at other steps, at a cost that is half of its overhead.
        if trainer._logger_connector.should_update_logs:
            if len(losses) > 1:
                size = sum(examples for _, examples in losses)
                loss = torch.stack([loss * examples for loss, examples in losses]).sum() / size
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            row = {"train/loss": loss, "learning_rate": rate}
            self.log_dict(row, batch_size=size, on_step=True, on_epoch=False)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Have the last weights of a run validated, wherever in an epoch it ends, so that they can be chosen.

        Lightning calls it after the callbacks, one of which ends a run at `trainer.max_time`.
        """
        if ends_training(self.trainer):
            self.trainer.should_stop = True
            self.trainer.check_val_every_n_epoch = self.trainer.val_check_batch = 1

    def on_validation_end(self) -> None:
        """Step a plateau's scheduler, whose patience counts validations."""
        schedulers = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(self.trainer.callback_metrics[f"validation/{self.task.metric}"])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """As Lightning's own, but for a plateau's, which is stepped after each validation.

        Lightning steps it at the end of each epoch, with the last metric there was: in an epoch without a
        validation the same again.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def _outcome(self, values: Tensor, batch: Batch, stage: str) -> tuple[Any, Any]:
        if stage == "train":
            return self.objective.training_outcome(values, batch.targets)
        return self.objective.outcome(self.objective.answer(self.model, batch, values, stage), batch.targets)

    def on_train_epoch_end(self) -> None:
        self.train_metrics.flush()
        self.log_dict(self.train_metrics)  # not at every step, for the same reason as the loss

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation_metrics)

    def on_test_epoch_start(self) -> None:
        self._tested = []

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test_metrics)
        self.predictions, self._tested = gathered(joined(self._tested)), []

    def _describe_divergence(self, stage: str, loss: float) -> str:
        norms = ", ".join(f"{float(norm):.3g}" for norm in self.recent_norms)
        return (
            f"the {stage} loss became {loss} at step {self.global_step} (epoch {self.current_epoch}); "
            f"gradient norms of the last steps: {norms or 'none yet'}; "
            "lower optimizer.lr or trainer.gradient_clip_val"
        )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning's own, keeping the norm that clipping computes anyway."""
        by_norm = gradient_clip_val and gradient_clip_algorithm != "value"
        bound = float(gradient_clip_val) if by_norm and gradient_clip_val else math.inf
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        norm, clipped = clip_norm(trained, bound)
        self.recent_norms.append(norm)
        if gradient_clip_val and not by_norm:
            clipped = max_absolute(trained) > gradient_clip_val
            nn.utils.clip_grad_value_(trained, gradient_clip_val)
        self.clipped_steps += clipped

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """As the optimiser's own, whose entry in a profile costs more than the rest of it."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["symbols"] = symbols(self.task)
        if (data := self._data()) is not None:
            checkpoint["data"] = data.identity
        checkpoint["clipping"] = {"norms": list(self.recent_norms), "steps": int(self.clipped_steps)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """
        Raises:
            DataError: the weights were trained on other data than the trainer has now.
        """
        if (data := self._data()) is not None:
            refuse_other_data(data, checkpoint)
        self.recent_norms.extend(checkpoint["clipping"]["norms"])
        self.clipped_steps = checkpoint["clipping"]["steps"]

    def _data(self) -> SequenceData | None:
        data = getattr(self._trainer, "datamodule", None)
        return data if isinstance(data, SequenceData) else None

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.parameters())
        if self._scheduler is None:
            return optimizer
        monitor, direction = f"validation/{self.task.metric}", self.task.direction
        scheduler = lr_scheduler_config(self._scheduler, optimizer, self.trainer, monitor, direction)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def refuse_other_data(data: SequenceData, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint of other data, before any of its weights are used.

    Raises:
        DataError: naming what has changed.
    """
    if "data" not in checkpoint:
        raise DataError(
            "the checkpoint is of an older version, which did not keep what tells its data from others: "
            "force=true trains the run anew"
        )
    changed = data.changes(checkpoint["data"])
    if changed:
        raise DataError(
            f"the run was begun on other data ({'; '.join(changed)}): bring the data of that time back, or "
            "give force=true, which trains the run anew"
        )


def symbols(task: TaskSpec) -> dict[str, list[str]]:
    """What ids stand for, as lists of texts: checkpoints are read with `weights_only`."""
    return {
        "vocabulary": list(task.vocabulary),
        "target_vocabulary": list(task.target_vocabulary),
        "labels": list(task.labels),
    }


def over_ranks(losses: Tensor) -> tuple[Tensor, Tensor, int]:
    """(B_rank,) losses of this rank's share of a global batch -> () what this rank minimises, () the mean
    over the global batch, and the examples in it.

    DDP averages gradients over ranks, whose shares may differ in size: the first is such that the average is
    the gradient of the second.
    """
    totals = torch.stack([losses.detach().sum(), losses.new_tensor(len(losses))]).double()
    torch.distributed.all_reduce(totals)
    examples = totals[1].to(losses.dtype)
    share = losses.sum() * torch.distributed.get_world_size() / examples
    return share, (totals[0] / totals[1]).to(losses.dtype), int(examples)


def clip_norm(parameters: Sequence[nn.Parameter], bound: float) -> tuple[Tensor, Tensor | bool]:
    """As `torch.nn.utils.clip_grad_norm_`: () the norm before, and whether it was above `bound`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients and all(g.device.type == "cpu" for g in gradients):
        # To look costs nothing there; to multiply by 1 costs more than the norm.
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        if norm.item() <= bound:
            return norm, False
    norm = nn.utils.clip_grad_norm_(parameters, bound)
    return norm, norm > bound


def max_absolute(parameters: Iterable[nn.Parameter]) -> Tensor:
    """() : the largest |gradient| entry."""
    return torch.stack([p.grad.abs().max() for p in parameters if p.grad is not None]).max()
