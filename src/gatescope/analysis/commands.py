"""Errors of the commands, and the source of the runs that a command reads."""

from __future__ import annotations

from collections.abc import Mapping

from gatescope.analysis.runs import RecordSource, Source


class UsageError(Exception):
    """An argument is wrong; the message names it, what is allowed, and the most similar valid name."""


class CommandFailed(Exception):
    """A command cannot do its task; the message says why and what to do."""


def source(given: Mapping[str, str]) -> Source:
    """Return the source of the runs of `study`: under `root`, or in the W&B project `project`."""
    if given["source"] == "records":
        return RecordSource(given["root"], given["study"])
    from gatescope.analysis.wandb_source import WandbSource  # its import takes a second

    return WandbSource(given["project"], given["study"])
