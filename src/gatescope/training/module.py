"""The LightningModule: loss, metrics and optimizer of any model on any task."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MetricCollection

from gatescope.data.datamodule import SequenceData
from gatescope.models.encoder import SequenceModel
from gatescope.models.seq2seq import Seq2Seq
from gatescope.models.stack import HiddenState
from gatescope.saved_task import saved_task
from gatescope.sequences import Batch
from gatescope.startup import workarounds_enabled
from gatescope.training.buffered_metrics import BufferedMetrics
from gatescope.training.data_identity import check_same_data, vocabularies
from gatescope.training.display import EpochLoss
from gatescope.training.finite_loss import FiniteLossCheck, NonFiniteLoss, Place
from gatescope.training.gradients import clip_grad_norm, global_mean, max_abs_grad
from gatescope.training.lightning_internals import (
    is_logging_step,
    validate_after_this_batch,
)
from gatescope.training.monitor import Monitor
from gatescope.training.objective import BaseObjective, objective_for
from gatescope.training.own import OwnLoss, OwnMetric, metric_arguments, minimised_by
from gatescope.training.predictions import Columns, batch_columns, concatenate, gather
from gatescope.training.schedules import lr_scheduler_config
from gatescope.training.trainer import is_last_training_batch


class SequenceTask(pl.LightningModule):
    """Trains a model on the task that it was built for.

    Args:
        model: The model.
        optimizer: Makes the optimizer from the parameters (a partial).
        scheduler: Makes the learning-rate scheduler from the optimizer, or None.
        objective: Loss and metrics; None for those of the task.
        monitor: Metric that a plateau observes; None for that of the task.
        loss: A loss of the user's own, minimised in place of that of the objective; None for none.
        metric: A further metric of validation and test; None for none.

    Attributes:
        hidden_states: By stage, the hidden states at the end of the last batch, if the data are stateful.
        predictions: Predictions of the last test, see `gatescope.tracking.predictions`; on rank 0, those of
            all ranks.
        recent_norms: Gradient norms of the last steps before clipping, for the message of `NonFiniteLoss`.
        epoch_loss: Mean training loss of the current epoch so far.
        clipped_steps: Number of clipped steps; a tensor, so that no step waits for the device.
    """

    own_loss: OwnLoss | None

    def __init__(
        self,
        model: SequenceModel,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler | ReduceLROnPlateau] | None = None,
        objective: BaseObjective | None = None,
        monitor: Monitor | None = None,
        loss: OwnLoss | None = None,
        metric: OwnMetric | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = model.task
        self.objective = objective or objective_for(model.task, model.objective)
        self.monitor = monitor or Monitor(self.task.metric, self.task.direction)
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        metrics = self.objective.metrics()
        self.train_metrics = BufferedMetrics(self.objective.training_metrics(), prefix="train/")
        self.validation_metrics = metrics.clone(prefix="validation/")
        self.test_metrics = metrics.clone(prefix="test/")
        self.own_loss, self.own_metric_name = loss, metric.name if metric else ""
        self.own_metrics = nn.ModuleDict(
            {stage: metric.metric.clone() for stage in ("validation", "test")} if metric else {}
        )
        self.hidden_states: dict[str, HiddenState] = {}
        self.predictions: Columns = {}
        self._test_columns: list[Columns] = []
        self.recent_norms: deque[Tensor] = deque(maxlen=5)
        self.clipped_steps: Tensor | int = 0
        self.epoch_loss = EpochLoss()
        self._finite = FiniteLossCheck()
        self._accumulated_losses: list[tuple[Tensor, int]] = []
        """Mean loss and number of examples of each batch of the current update."""

    def forward(self, batch: Batch) -> Tensor:
        """Return the outputs of the model's head for a batch."""
        return self.model(batch).values

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a training batch."""
        if isinstance(self.model, Seq2Seq):
            self.model.updates = self.global_step
        return self._shared_step(batch, batch_idx, self.train_metrics, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a validation batch."""
        self._shared_step(batch, batch_idx, self.validation_metrics, "validation")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a test batch and keep its predictions."""
        self._shared_step(batch, batch_idx, self.test_metrics, "test")

    def _values(self, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        """Return the head's outputs; stateful data continue from the hidden states of the last batch."""
        if not self.task.stateful:
            return self(batch)
        if batch_idx == 0:
            self.hidden_states[stage] = {}
        return self.model(batch, self.hidden_states[stage]).values

    def _shared_step(self, batch: Batch, batch_idx: int, metrics: MetricCollection, stage: str) -> Tensor:
        """Compute the loss of a batch, log it and update the metrics of its stage."""
        values = self._values(batch, batch_idx, stage)
        losses = self.objective.loss(values, batch.targets)
        minimised, loss, size = self._mean(losses)
        if stage == "train":
            own = self._minimised(losses, values, batch)
            minimised = minimised if own is losses else self._mean(own)[0]
        self._raise_if_found(self._finite.add(loss, Place(stage, self.global_step, self.current_epoch)))
        if stage != "train":
            # The loss is equal on all ranks, so that averaging it over ranks does not change it.
            self.log(f"{stage}/loss", loss, batch_size=size, on_step=False, on_epoch=True, sync_dist=True)
        else:
            self.epoch_loss.add(loss, size)
            self._log_update(loss, size, batch_idx)
        outcome = self._outcome(values.detach(), batch, stage)
        metrics.update(*outcome)
        if stage in self.own_metrics:
            own_metric: Any = self.own_metrics[stage]
            own_metric.update(*metric_arguments(self.objective, values.detach(), batch.targets))
        if stage == "test":
            columns = self.objective.columns(values.detach(), batch.targets, outcome)
            self._test_columns.append(batch_columns(batch.ids, losses, columns))
        return minimised

    def _minimised(self, losses: Tensor, values: Tensor, batch: Batch) -> Tensor:
        """Return what training minimises, of each example or as one number."""
        if self.own_loss is not None:
            return minimised_by(self.own_loss, self.objective, values, batch.targets)
        return self.objective.minimised(losses, values, batch.targets)

    def _mean(self, losses: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return the mean that this rank minimises, that of the global batch, and its number of examples."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return global_mean(losses)
        mean = losses.mean()
        return mean, mean.detach(), losses.shape[0]

    def _log_update(self, loss: Tensor, size: int, batch_idx: int) -> None:
        """Log the loss and learning rate of an update, with the last of its accumulated batches."""
        trainer = self.trainer
        self._accumulated_losses.append((loss, size))
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        losses, self._accumulated_losses = self._accumulated_losses, []
        if is_logging_step(trainer):
            if len(losses) > 1:
                size = sum(examples for _, examples in losses)
                loss = torch.stack([loss * examples for loss, examples in losses]).sum() / size
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            row = {"train/loss": loss, "learning_rate": rate}
            self.log_dict(row, batch_size=size, on_step=True, on_epoch=False)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Validate after the last update of a run, wherever in an epoch it is, so that it can be the best.

        Lightning calls this after the callbacks, one of which ends a run at `trainer.max_time`.
        """
        if is_last_training_batch(self.trainer):
            self.trainer.should_stop = True
            validate_after_this_batch(self.trainer)

    def on_validation_start(self) -> None:
        """Check the losses of training before weights are validated."""
        self._raise_if_found(self._finite.flush())

    def on_validation_end(self) -> None:
        """Step `ReduceLROnPlateau`, whose patience counts validations."""
        if self.trainer.sanity_checking:
            return
        schedulers = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(self.trainer.callback_metrics[self.monitor.name])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a scheduler as Lightning does, except `ReduceLROnPlateau`, see `on_validation_end`.

        Lightning would step that one at the end of each epoch: without a validation in between, twice with
        the same metric.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def _outcome(self, values: Tensor, batch: Batch, stage: str) -> tuple[Any, Any]:
        """Return the predictions and targets that the metrics of a stage are updated with."""
        if stage == "train":
            return self.objective.training_outcome(values, batch.targets)
        return self.objective.outcome(self.objective.answer(self.model, batch, values, stage), batch.targets)

    def on_train_epoch_start(self) -> None:
        """Start the mean loss of a new epoch."""
        self.epoch_loss.reset()

    def on_train_epoch_end(self) -> None:
        """Check the losses, and log the training metrics of the epoch."""
        self._raise_if_found(self._finite.flush())
        self.train_metrics.flush()
        self.log_dict(self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        """Check the losses, and log the validation metrics."""
        self._raise_if_found(self._finite.flush())
        self.log_dict(self.validation_metrics)
        self._log_own_metric("validation")

    def _log_own_metric(self, stage: str) -> None:
        """Log the user's own metric of a stage, if there is one."""
        if stage in self.own_metrics:
            self.log(f"{stage}/{self.own_metric_name}", self.own_metrics[stage])  # type: ignore[arg-type]

    def on_test_epoch_start(self) -> None:
        """Discard the predictions of an earlier test."""
        self._test_columns = []

    def on_test_epoch_end(self) -> None:
        """Check the losses, log the test metrics and collect the predictions of all ranks."""
        self._raise_if_found(self._finite.flush())
        self.log_dict(self.test_metrics)
        self._log_own_metric("test")
        self.predictions, self._test_columns = gather(concatenate(self._test_columns)), []

    def _raise_if_found(self, found: tuple[float, Place] | None) -> None:
        """Raise if `FiniteLossCheck` found a loss.

        Raises:
            NonFiniteLoss: It did.
        """
        if found is None:
            return
        loss, place = found
        norms = ", ".join(f"{float(norm):.3g}" for norm in self.recent_norms)
        raise NonFiniteLoss(
            f"the {place.stage} loss became {loss} at step {place.step} (epoch {place.epoch}); "
            f"gradient norms of the last steps: {norms or 'none yet'}; "
            "lower optimizer.lr or trainer.gradient_clip_val"
        )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as Lightning does, and keep the gradient norm and the number of clipped steps."""
        by_norm = gradient_clip_val and gradient_clip_algorithm != "value"
        bound = float(gradient_clip_val) if by_norm and gradient_clip_val else math.inf
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm, is_clipped = clip_grad_norm(parameters, bound)
        self.recent_norms.append(norm)
        if gradient_clip_val and not by_norm:
            is_clipped = max_abs_grad(parameters) > gradient_clip_val
            nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        self.clipped_steps += is_clipped

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Set the gradients to None as the optimizer does, whose entry in torch's profile takes longer."""
        if not workarounds_enabled():
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add vocabularies, the identity of the data and the state of clipping to a checkpoint.

        Raises:
            NonFiniteLoss: The weights are those after a loss that was not finite.
        """
        self._raise_if_found(self._finite.flush())
        checkpoint["symbols"] = vocabularies(self.task)
        if (data := self._data()) is not None:
            checkpoint["data"] = data.identity
            checkpoint["task"] = saved_task(data)
        checkpoint["clipping"] = {"norms": list(self.recent_norms), "steps": int(self.clipped_steps)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of clipping.

        Raises:
            DataError: The weights were trained on other data than the trainer has now.
        """
        if (data := self._data()) is not None:
            check_same_data(data, checkpoint)
        self.recent_norms.extend(checkpoint["clipping"]["norms"])
        self.clipped_steps = checkpoint["clipping"]["steps"]

    def _data(self) -> SequenceData | None:
        """Return the datamodule of the trainer; None if there is no trainer or it has other data."""
        try:
            trainer: Any = self.trainer
        except RuntimeError:  # not attached to a trainer
            return None
        data = getattr(trainer, "datamodule", None)
        return data if isinstance(data, SequenceData) else None

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and the scheduler if there is one."""
        optimizer = self._make_optimizer(self.parameters())
        if self._make_scheduler is None:
            return optimizer
        monitor = self.monitor
        scheduler = lr_scheduler_config(
            self._make_scheduler, optimizer, self.trainer, monitor.name, monitor.direction
        )
        return {"optimizer": optimizer, "lr_scheduler": scheduler}
