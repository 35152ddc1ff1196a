"""Check that a package that carries a dataset is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

from gatescope.data.errors import DataError


@contextmanager
def require_package(package: str, relation: str, remedy: str) -> Iterator[None]:
    """Convert a missing package into a DataError, while its metadata are read.

    Args:
        package: name of the package.
        relation: start of the message, such as "the tweets are part of".
        remedy: command that installs the package.

    Raises:
        DataError: the package is not installed.
    """
    try:
        yield
    except PackageNotFoundError as error:
        raise DataError(f"{relation} the package {package}, which is not installed: {remedy}") from error
