"""Packages that carry a dataset: told of where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

from gatescope.data.errors import DataError


@contextmanager
def needed(package: str, relation: str, remedy: str) -> Iterator[None]:
    """Within: the metadata of the package are read.

    Args:
        relation: how the message begins, such as "the tweets are part of".
        remedy: the command that installs it.
    Raises:
        DataError: it is not installed.
    """
    try:
        yield
    except PackageNotFoundError as error:
        raise DataError(f"{relation} the package {package}, which is not installed: {remedy}") from error
