"""The validation metric by which weights are kept, training ends early and a plateau is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torchmetrics import MetricCollection

from gatescope.components import nearest
from gatescope.config import ConfigError
from gatescope.sequences import TaskSpec
from gatescope.training.objective import BaseObjective
from gatescope.training.own import own_metric

Direction = Literal["max", "min"]
LOSS = "loss"


@dataclass(frozen=True)
class Monitor:
    """A validation metric.

    Attributes:
        metric: Its name without "validation/".
        direction: Whether a larger ("max") or a smaller ("min") value is better.
    """

    metric: str
    direction: Direction

    @property
    def name(self) -> str:
        """The name under which it is logged."""
        return f"validation/{self.metric}"


def monitor_of(cfg: Mapping[str, Any], objective: BaseObjective) -> Monitor:
    """Return the monitored metric of a run.

    Args:
        cfg: Config of the run.
        objective: Objective of its task.

    Raises:
        ConfigError: As `choose_monitor`.
    """
    metrics, own = objective.metrics(), own_metric(cfg.get("metric"), objective.task)
    if own is not None:
        metrics.add_metrics({own.name: own.metric})
    return choose_monitor(objective.task, metrics, cfg.get("monitor"), cfg.get("monitor_direction"))


def choose_monitor(
    task: TaskSpec, metrics: MetricCollection, name: str | None = None, direction: Direction | None = None
) -> Monitor:
    """Return the monitored metric.

    Args:
        task: Task with the metric that is the default.
        metrics: Metrics of validation, by name.
        name: Name of one of them, or "loss"; "validation/" may precede it. None: the metric of the task.
        direction: Its better direction; None where the metric says it itself.

    Raises:
        ConfigError: There is no such metric, or its direction is unknown or contradicts the given one.
    """
    metric = (name or task.metric).removeprefix("validation/")
    known = {LOSS: "min", task.metric: task.direction} | {
        str(key): "max" if one.higher_is_better else "min"
        for key, one in metrics.items()
        if one.higher_is_better is not None and key != task.metric
    }
    names = sorted({LOSS, *(str(key) for key in metrics)})
    if metric not in names:
        close = nearest(metric, names)
        hint = f", did you mean {close}?" if close else ";"
        raise ConfigError([f"monitor: given {name}{hint} the metrics of these data are {', '.join(names)}"])
    if metric in known and direction not in (None, known[metric]):
        better = "high" if known[metric] == "max" else "low"
        raise ConfigError(
            [f"monitor_direction: given {direction}, but {metric} is better when it is {better}; remove it"]
        )
    found = known.get(metric, direction)
    if found is None:
        raise ConfigError(
            [f"monitor_direction: the better direction of {metric} is not known, give max or min"]
        )
    return Monitor(metric, "max" if found == "max" else "min")
