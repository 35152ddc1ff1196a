"""Errors that commands report in one line, and the source of runs that their arguments name."""

from __future__ import annotations

from collections.abc import Mapping

from gatescope.analysis.runs import RecordSource, Source


class UsageError(Exception):
    """An argument is wrong; the message names it, what is allowed, and the most similar valid name."""


class CommandFailed(Exception):
    """A command cannot do its task; the message says why and what to do."""


def source(arguments: Mapping[str, str]) -> Source:
    """Return the source of the runs of a study.

    Args:
        arguments: The values of `study` and `source`, and of `root` for source=records or of `project` (a
            W&B project) for source=wandb.
    """
    if arguments["source"] == "records":
        return RecordSource(arguments["root"], arguments["study"])
    from gatescope.analysis.wandb_source import WandbSource  # its import takes a second

    return WandbSource(arguments["project"], arguments["study"])
