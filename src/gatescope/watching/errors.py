"""The error of everything that looks into a module from outside this package."""

from __future__ import annotations


class WatchError(ValueError):
    """A module cannot be looked into; the message contains its name, the reason and the remedy."""
