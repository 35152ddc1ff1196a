"""Readable names of runs, for W&B and for the links in `by_name`. This module does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig

from gatescope.tracking.variants import Run, leaves, short_names, value_text

INTERPOLATED = {"kernel": "model.cell.kernel", "study.parameters": "model.parameters"}
"""Keys that are set outside of the result's config, and the keys of that config that take their values."""


def display_name(cfg: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Return the variant, the overridden values that define the result, and the seed of a run.

    Args:
        cfg: Config of the run.
        overrides: Overrides of the command line, `key=value` each: optimizer.lr=0.003 gives
            "gru-additive lr=0.003 s0".
    """
    run = Run.of(cfg)
    flat = dict(leaves(run.result))
    names = short_names(flat)
    overridden = {INTERPOLATED.get(key, key) for key, _ in split_overrides(overrides)}
    parts = [f"data={run.tags['data']}"] if "data" in overridden else []
    parts += [
        f"{names[key]}={value_text(flat[key])}"
        for key in flat
        if key in overridden and key not in ("seed", "model.name")
    ]
    return " ".join([str(run.tags["variant"]), *parts, f"s{run.tags['seed']}"])


def run_name(cfg: Mapping[str, Any]) -> str:
    """Return `tracking.name`, or a name made from the overrides of the command line."""
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return str(cfg["tracking"]["name"] or display_name(cfg, overrides))


def split_overrides(overrides: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield key and value of each override, without `+`, `~` and the package of a group."""
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        yield key.partition("@")[0], value
