"""Checks of a sweep that need its data: numbers of folds and monitored metrics, before the first job starts.

The data are read only where the configs cannot tell: for the folds of groups, and for a monitored metric.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from gatescope.config import ConfigError
from gatescope.data.errors import DataError
from gatescope.tracking.variants import canonical_json


class SweepData:
    """Remembers which data have been read, so that the stages of tuning read them once."""

    def __init__(self) -> None:
        self._passed: set[str] = set()

    def check(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Read each of the data that need it once, with their largest fold, and check the configs with them.

        Args:
            configs: Resolved configs of the jobs that are to run.

        Raises:
            ConfigError: Folds or monitored metrics do not exist, or the data cannot be used.
        """
        groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for cfg in configs:
            if _has_group_folds(cfg["data"]) or _is_monitored(cfg):
                groups[canonical_json(_without_seeds(cfg["data"]))].append(cfg)
        problems: list[str] = []
        for jobs in groups.values():
            keys = {canonical_json([_without_seeds(cfg["data"]), _fold(cfg), *_monitor(cfg)]) for cfg in jobs}
            if keys <= self._passed:
                continue
            if found := list(dict.fromkeys(_problems(jobs))):
                problems += found
            else:
                self._passed |= keys
        if problems:
            raise ConfigError(["none of the jobs was started:", *(f"  {one}" for one in problems)])


def _problems(jobs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with jobs whose data differ in fold and seed only."""
    from gatescope.run import load_data
    from gatescope.training.monitor import monitor_of
    from gatescope.training.objective import objective_for

    try:
        largest = max(jobs, key=_fold)
        data = load_data(OmegaConf.create(dict(largest)))
    except (DataError, ConfigError) as error:
        yield str(error)
        return
    for cfg in {canonical_json(_monitor(cfg)): cfg for cfg in jobs if _is_monitored(cfg)}.values():
        try:
            monitor_of(cfg, objective_for(data.task))
        except ConfigError as error:
            yield from error.problems


def _has_group_folds(data: Mapping[str, Any]) -> bool:
    """Return whether the number of folds depends on the groups that the data have."""
    by_group = data.get("group") is not None or "split_by" in data
    return data.get("folds") == "groups" or (data.get("folds") is not None and by_group)


def _is_monitored(cfg: Mapping[str, Any]) -> bool:
    return cfg.get("monitor") is not None and "baseline" not in cfg["model"]


def _monitor(cfg: Mapping[str, Any]) -> list[Any]:
    return [cfg.get(key) for key in ("monitor", "monitor_direction", "metric")]


def _fold(cfg: Mapping[str, Any]) -> int:
    return cfg["data"].get("fold") or 0


def _without_seeds(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in ("fold", "seed")}
