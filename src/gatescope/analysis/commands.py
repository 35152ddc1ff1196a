"""Errors of the commands, and the source of the runs that a command reads."""

from __future__ import annotations

from collections.abc import Mapping

from gatescope.analysis.runs import RecordSource, Source


class UsageError(Exception):
    """A wrong argument; the message names it, what is allowed, and the nearest valid name."""


class CommandFailed(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def source(given: Mapping[str, str]) -> Source:
    """The runs of `study` under `root`, or in W&B's `project`."""
    if given["source"] == "records":
        return RecordSource(given["root"], given["study"])
    from gatescope.analysis.wandb_source import WandbSource  # takes a second to import

    return WandbSource(given["project"], given["study"])
