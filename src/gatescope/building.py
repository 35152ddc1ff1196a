"""The model of a config and a task. This module imports neither Lightning nor the data."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from gatescope.config import ConfigError
from gatescope.models.budget import BudgetTooSmall
from gatescope.models.build import build_model
from gatescope.models.encoder import SequenceModel
from gatescope.sequences import TaskSpec


def build_network(cfg: DictConfig, task: TaskSpec) -> SequenceModel:
    """Return the model from the model, attention and decoder groups, with new weights.

    Args:
        cfg: The composed config.
        task: Task that the model is built for.

    Raises:
        ConfigError: The targets are sequences, and there is no decoder; or the budget is too small.
    """
    if task.kind == "transduction" and not cfg.get("decoder"):
        raise ConfigError(
            ["decoder: given none, and these data need one; Allowed: ctc, input_feeding, recurrent"]
        )
    decoding = instantiate(cfg.decoder) if cfg.get("decoder") else None
    front = instantiate(cfg.front) if cfg.get("front") else None
    try:
        return build_model(
            task, instantiate(cfg.model, _convert_="all"), instantiate(cfg.attention), decoding, front
        )
    except BudgetTooSmall as error:
        raise ConfigError([str(error)]) from error
