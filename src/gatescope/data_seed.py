"""Whether the data of a config can be drawn anew with each seed (`study.vary_data`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def vary_data_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield why the data cannot vary with the seed, where the study asks for that.

    Args:
        cfg: the resolved config.
    """
    data = cfg["data"]
    if not cfg["study"].get("vary_data"):
        return
    if data.get("folds"):
        yield "study.vary_data: the folds of data.folds vary the data already: remove one of both"
    elif data.get("seed") != cfg["seed"]:
        yield (
            f"study.vary_data: data.seed is {data.get('seed')} and not that of the run, {cfg['seed']}: leave "
            "data.seed out, write seed: ${data_seed:} into a data file of your own, or use other data if the "
            "splits of these are fixed"
        )
