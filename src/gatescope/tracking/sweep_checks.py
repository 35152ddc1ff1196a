"""Checks of a sweep before its first job starts. This module does not import torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gatescope.components import nearest
from gatescope.config import ConfigError
from gatescope.tracking.identity import result_config, run_dir
from gatescope.tracking.run_names import split_overrides
from gatescope.tracking.variants import COMPONENTS, canonical_json, leaves


def check_sweep(configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]]) -> None:
    """Raise if a sweep varies a key that cannot change a result, or selects over a key that no job has.

    All jobs with different values of the former key would be the same run.

    Args:
        configs: Resolved config of each job.
        overrides: Overrides of each job, `key=value`.

    Raises:
        ConfigError: The message names each such key and the remedy.
    """
    problems = [*_keys_without_effect(configs, overrides), *_unknown_selection_keys(configs)]
    if problems:
        raise ConfigError(problems)


def _keys_without_effect(
    configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield a message for each key that varies and does not change the runs."""
    by_job = [dict(split_overrides(words)) for words in overrides]
    directories = [run_dir(cfg) for cfg in configs]
    full_configs = [canonical_json(cfg) for cfg in configs]
    for key in dict.fromkeys(key for values in by_job for key in values):
        distinct = dict.fromkeys(values[key] for values in by_job if key in values)
        groups: dict[str, list[int]] = defaultdict(list)
        for place, values in enumerate(by_job):
            others = {name: value for name, value in values.items() if name != key}
            groups[json.dumps(others, sort_keys=True)].append(place)
        runs = max(len({directories[place] for place in group}) for group in groups.values())
        variations = max(len({full_configs[place] for place in group}) for group in groups.values())
        if runs == 1 and variations > 1:
            yield (
                f"{key}: given {','.join(distinct)}, but it cannot change the result of a run, so that all "
                "of these are one and the same run; give one value, or compare in separate studies "
                "(study.name=…)"
            )


def _unknown_selection_keys(configs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a message for each key of `study.select.over` that no job's result depends on."""
    over = dict.fromkeys(
        key for cfg in configs for key in ((cfg["study"].get("select") or {}).get("over") or [])
    )
    if not over:
        return
    known = {*COMPONENTS, *(key for cfg in configs for key, _ in leaves(result_config(cfg)))} - {"seed"}
    for key in over:
        if key not in known:
            match = nearest(key, known)
            hint = f"; did you mean {match}?" if match else ""
            yield f"study.select.over: given {key}, allowed: a key that defines a run's result{hint}"
