"""Attention that is trained to predict like another run while it attends elsewhere.

If this succeeds, the weights of that other run are not the only ones that go with its predictions.
Source: Wiegreffe & Pinter 2019, "Attention is not not Explanation", section 4.
"""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gatescope.models.attention import Adversarial
from gatescope.models.encoder import Prediction, SequenceModel
from gatescope.sequences import Batch, TaskSpec, probabilities
from gatescope.training.module import SequenceTask

ADVERSARIAL, IMITATED = (f"gatescope.models.attention.{name}" for name in ("Adversarial", "Additive"))
TINY = 1e-30
"""Smallest weight whose logarithm is taken."""


def imitated_config(cfg: DictConfig) -> DictConfig | None:
    """Return the config of the run that is imitated; None for any other attention.

    Args:
        cfg: The composed config.
    """
    if cfg.attention.get("_target_") != ADVERSARIAL:
        return None
    imitated = cfg.copy()
    own = {key: value for key, value in cfg.attention.items() if key != "divergence"}
    imitated.attention = OmegaConf.create({**own, "_target_": IMITATED})
    imitated.force = False
    return imitated


def problem(cfg: DictConfig, task: TaskSpec) -> str | None:
    """Return why a config with this attention cannot be trained; None if it can.

    Args:
        cfg: The composed config.
        task: The task of its data.
    """
    if (cfg.get("loss") or {}).get("_target_") is not None:
        return "loss._target_: attention=adversarial has a loss of its own, leave it out"
    if not task.has_classes:
        return "attention: adversarial compares the probabilities of classes; give data with one class each"
    return None


class AdversarialTask(SequenceTask):
    """Minimises, against a trained model, the difference of predictions minus a divergence of attention.

    The loss of an example is TVD(p, q) − `divergence` · KL(a ‖ b): total variation between the predicted
    probabilities p and those of the trained model, q, and the Kullback–Leibler divergence of the attention
    weights a from those of the trained model, b, in the mean over heads. Validation and test log
    `imitation_tvd`, the mean total variation, and `attention_jsd`, the mean Jensen–Shannon divergence of the
    weights (0: equal, ln 2: on different steps).

    Attributes:
        imitated: The trained model, in a tuple so that it is no part of this module; empty where a finished
            run is loaded.
    """

    imitated: tuple[SequenceModel, ...] = ()
    _output: Prediction
    """The output for the last batch."""

    def imitate(self, model: SequenceModel) -> None:
        """Set the trained model."""
        self.imitated = (model.requires_grad_(False).eval(),)

    def _values(self, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        """Return the head's outputs, and keep the attention weights with them."""
        self._output = self.model(batch)
        return self._output.values

    def _minimised(self, losses: Tensor, values: Tensor, batch: Batch) -> Tensor:
        """Return the adversarial loss of each example, (B,)."""
        attention = self.model.attention
        assert isinstance(attention, Adversarial)
        expected, weights = self._of_imitated(batch)
        assert self._output.attention is not None
        divergence = _kl(self._output.attention, weights).mean(-1)
        return self._tvd(values, expected) - attention.divergence * divergence

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a validation batch, also against the trained model."""
        super().validation_step(batch, batch_idx)
        self._compare(batch, "validation")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a test batch, also against the trained model."""
        super().test_step(batch, batch_idx)
        self._compare(batch, "test")

    def _compare(self, batch: Batch, stage: str) -> None:
        """Log how far predictions and attention are from those of the trained model."""
        if not self.imitated:
            return
        output = self._output
        assert output.attention is not None
        expected, weights = self._of_imitated(batch)
        middle = (output.attention + weights) / 2
        jsd = (_kl(output.attention, middle) + _kl(weights, middle)).mean(-1) / 2
        found = {"imitation_tvd": self._tvd(output.values, expected), "attention_jsd": jsd}
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True}
        for name, values in found.items():
            self.log(f"{stage}/{name}", values.mean(), batch_size=len(values), **options)

    @torch.no_grad()
    def _of_imitated(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the outputs (B, K) and the attention weights (B, heads, T) of the trained model."""
        (model,) = self.imitated
        output = model.to(batch.inputs.device)(batch)
        assert output.attention is not None
        return output.values, output.attention

    def _tvd(self, values: Tensor, expected: Tensor) -> Tensor:
        """Return the total variation between the predictions of each example, (B,)."""
        p, q = (probabilities(self.task, one) for one in (values, expected))
        return (p - q).abs().sum(-1) / 2


def _kl(weights: Tensor, others: Tensor) -> Tensor:
    """Return the Kullback–Leibler divergence of weights (B, heads, T) from others, (B, heads), in nats."""
    logs = weights.clamp_min(TINY).log() - others.clamp_min(TINY).log()
    return (weights * logs).sum(-1)
