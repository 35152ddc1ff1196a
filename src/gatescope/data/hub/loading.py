"""Loading of datasets of the Hugging Face hub through the package `datasets`, imported when it is needed.

The cache on disk is tried first, so that a dataset that was downloaded once loads offline and without delay.
Without a network `datasets` retries for half a minute; here a connection is attempted for three seconds, and
one message follows.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gatescope.data.errors import DataError

TIMEOUT = 3
"""Seconds for a connection to the hub."""


def load_hub(dataset: str, subset: str | None, revision: str | None, path: str | None) -> Any:
    """Load a DatasetDict.

    Args:
        dataset: id on the hub.
        subset: of the dataset, or None.
        revision: commit or branch, or None for main.
        path: of a folder that `save_to_disk` wrote, which replaces the hub; or None.

    Raises:
        DataError: the package is missing, the folder holds no dataset, or neither cache nor hub has it.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{dataset} comes from the Hugging Face hub, through the package datasets, which cannot be "
            f"imported ({error}): pip install -c constraints.txt -e '.[hub]'"
        ) from error
    datasets.disable_progress_bars()
    if path is not None:
        try:
            return datasets.load_from_disk(str(Path(path).expanduser()))
        except Exception as error:  # the kind of error depends on the version
            raise DataError(f"{path}: no dataset written by save_to_disk: {error}") from error
    offline_mode = bool(datasets.config.HF_HUB_OFFLINE)
    with offline():
        try:
            return datasets.load_dataset(dataset, subset, revision=revision)
        except Exception as error:
            cause = error
    if offline_mode or not reachable(datasets.config.HF_ENDPOINT):
        endpoint = datasets.config.HF_ENDPOINT
        why = "HF_HUB_OFFLINE is set" if offline_mode else f"{endpoint} cannot be reached"
        raise DataError(unavailable(dataset, why)) from cause
    try:
        return datasets.load_dataset(dataset, subset, revision=revision)
    except Exception as error:
        raise DataError(unavailable(dataset, str(error).splitlines()[0])) from error


def unavailable(dataset: str, why: str) -> str:
    """Return the message for a dataset that neither cache nor hub has."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return (
        f"{dataset} is not in the cache ({home}, set by HF_HOME), and {why}. Download it once with a "
        "network, or set data.path= to a folder written by save_to_disk. Without a network: data=tweets and "
        "data=bbc_news (texts), data=japanese_vowels (speech)"
    )


@contextmanager
def offline() -> Iterator[None]:
    """Disable requests to the hub; both packages check their constant at every request."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def reachable(endpoint: str) -> bool:
    """Return whether the hub, or the proxy to it, accepts a connection."""
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlsplit(proxy or endpoint)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=TIMEOUT):
            return True
    except OSError:
        return False


def select_split(splits: Any, name: str, columns: tuple[str, ...], dataset: str) -> Any:
    """Return a split with these columns only.

    Args:
        splits: the DatasetDict.
        name: of the split.
        columns: names of the columns.
        dataset: id on the hub, for messages.

    Raises:
        DataError: there is no such split or column.
    """
    if not hasattr(splits, "keys") or name not in splits:
        names = ", ".join(splits) if hasattr(splits, "keys") else "one split without a name"
        raise DataError(f"{dataset}: no split {name!r}; it has {names}")
    split = splits[name]
    for column in columns:
        if column not in split.column_names:
            raise DataError(f"{dataset}: no column {column!r}; it has {', '.join(split.column_names)}")
    return split.select_columns(list(columns))


def class_names(split: Any, column: str, dataset: str) -> tuple[str, ...]:
    """Return the names of the classes of a column of type ClassLabel.

    Raises:
        DataError: the column is of another type.
    """
    names = getattr(split.features[column], "names", None)
    if not names:
        raise DataError(f"{dataset}: column {column!r} is {split.features[column]}, expected a ClassLabel")
    return tuple(names)
