"""The model of a run before its training."""

from __future__ import annotations

from dataclasses import replace

import torch

from gatescope.building import build_network
from gatescope.fine_tuning import source_run, start_from
from gatescope.trained import Trained


def untrained(trained: Trained) -> Trained:
    """Return a run with the weights that its training started from.

    They are drawn anew from the seed of the run, or come from the run that it started from.

    Args:
        trained: a finished run.

    Raises:
        DataError: the data are needed for pretrained vectors, and no longer available.
    """
    cfg = trained.config
    task = trained.task if trained.task.vectors is None else trained.data.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(cfg.seed))
        model = build_network(cfg, task)
    if (source := source_run(cfg)) is not None:
        start_from(model, source, cfg.get("freeze") or [])
    return replace(trained, model=model.to(trained.model.device).eval())
