"""The error that every dataset raises."""

from __future__ import annotations


class DataError(ValueError):
    """The data are not what the task needs; the message names the row and the remedy."""

    exit_code = 2
    """Of train.py: as for a config that is wrong."""
