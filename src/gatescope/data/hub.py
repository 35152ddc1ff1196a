"""Datasets of the Hugging Face hub, through its package `datasets` (extra `hub`), imported when it is needed.

The cache on disk is asked first, so that what was fetched once works offline and at once. Without a network
`datasets` tries for half a minute; here a connection is tried for three seconds, and one message follows.
"""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import torch
from pydantic import Field
from sklearn.model_selection import train_test_split

from gatescope.data.answers import own_file
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.text import Encoding

PATIENCE = 3
"""Seconds for a connection to the hub."""


def load_hub(dataset: str, subset: str | None, revision: str | None, path: str | None) -> Any:
    """The DatasetDict of a hub id; or the one that `save_to_disk` wrote to `path`.

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
            return datasets.load_from_disk(str(own_file(path)))
        except Exception as error:  # its kinds differ from version to version
            raise DataError(f"{path}: no dataset that save_to_disk wrote: {error}") from error
    stays_offline = bool(datasets.config.HF_HUB_OFFLINE)
    with offline():
        try:
            return datasets.load_dataset(dataset, subset, revision=revision)
        except Exception as error:
            cause = error
    if stays_offline or not reachable(datasets.config.HF_ENDPOINT):
        why = "HF_HUB_OFFLINE is set" if stays_offline else f"{datasets.config.HF_ENDPOINT} cannot be reached"
        raise DataError(unavailable(dataset, why)) from cause
    try:
        return datasets.load_dataset(dataset, subset, revision=revision)
    except Exception as error:
        raise DataError(unavailable(dataset, str(error).splitlines()[0])) from error


def unavailable(dataset: str, why: str) -> str:
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return (
        f"{dataset} is not in the cache ({home}, set by HF_HOME), and {why}. Fetch it once where there is a "
        "network, or give data.path=, a folder that save_to_disk wrote. Without a network: data=tweets "
        "and data=bbc_news (texts), data=japanese_vowels (speech)"
    )


@contextmanager
def offline() -> Iterator[None]:
    """Both packages read their switch from the environment at import, and look at it at every request."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def reachable(endpoint: str) -> bool:
    """Whether the hub, or the proxy on the way to it, takes a connection."""
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlsplit(proxy or endpoint)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=PATIENCE):
            return True
    except OSError:
        return False


def part(found: Any, name: str, columns: tuple[str, ...], dataset: str) -> Any:
    """A split with these columns.

    Raises:
        DataError: there is no such split or column.
    """
    if not hasattr(found, "keys") or name not in found:
        held = ", ".join(found) if hasattr(found, "keys") else "one split without a name"
        raise DataError(f"{dataset}: no split {name!r}; it has {held}")
    split = found[name]
    for column in columns:
        if column not in split.column_names:
            raise DataError(f"{dataset}: no column {column!r}; it has {', '.join(split.column_names)}")
    return split.select_columns(list(columns))


class HubTexts(SequenceData):
    """Classification of texts of the hub; without a `validation_split` one is cut from train.

    Args:
        dataset: name that runs on it carry.
        hub_id, subset, revision: of the hub.
        path: of a folder that `save_to_disk` wrote, instead of the hub.
        text, label: columns.
        train_split, validation_split, test_split: the hub's names; a test split without labels is of no use.
        validation: share of train, stratified by label.
        limit: a stratified subset of train of that many texts; None for all.
        max_tokens, min_freq, max_length, vectors, frozen: as in `Encoding`.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        dataset: str,
        hub_id: str,
        subset: str | None = None,
        revision: str | None = None,
        path: str | None = None,
        text: str = "text",
        label: str = "label",
        train_split: str = "train",
        validation_split: str | None = None,
        test_split: str = "test",
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        limit: Annotated[int, Field(ge=10)] | None = None,
        max_tokens: Annotated[int, Field(ge=3)] | None = 20_000,
        min_freq: Annotated[int, Field(ge=1)] = 2,
        max_length: Annotated[int, Field(ge=1)] | None = 200,
        vectors: str | None = None,
        frozen: bool = False,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.hub_id, self.source = hub_id, (hub_id, subset, revision, path)
        self.columns = (text, label)
        self.split_names = {"train": train_split, "validation": validation_split, "test": test_split}
        self.validation, self.limit = validation, limit
        self.encoding = Encoding(max_tokens, min_freq, max_length, vectors=vectors, frozen=frozen)

    def build(self) -> Splits:
        found, corpus, labels = load_hub(*self.source), self.encoding.corpus(), array("q")
        rows: dict[str, np.ndarray] = {}
        names: tuple[str, ...] = ()
        for name, called in self.split_names.items():
            if called is not None:
                split = part(found, called, self.columns, self.hub_id)
                names = names or class_names(split, self.columns[1], self.hub_id)
                start = len(corpus)
                for batch in split.iter(1000):
                    corpus.extend(batch[self.columns[0]])
                    labels.extend(batch[self.columns[1]])
                rows[name] = np.arange(start, len(corpus))
        targets = torch.tensor(labels, dtype=torch.int64)
        for name, where in rows.items():
            if (targets[torch.from_numpy(where)] < 0).any():
                raise DataError(
                    f"{self.hub_id}: split {self.split_names[name]!r} holds texts without a label"
                )
        return self.encoding.encode(
            corpus, self._divided(rows, targets), targets, names, {"source": self.hub_id}
        )

    def _divided(self, rows: dict[str, np.ndarray], targets: torch.Tensor) -> list[np.ndarray]:
        train, strata = rows["train"], targets.numpy()
        validation = rows.get("validation")
        if validation is None:
            train, validation = train_test_split(
                train, test_size=self.validation, stratify=strata[train], random_state=self.seed
            )
        if self.limit is not None and self.limit < len(train):
            train, _ = train_test_split(
                train, train_size=self.limit, stratify=strata[train], random_state=self.seed
            )
        return [train, validation, rows["test"]]

    def tokenize(self, text: str) -> list[str]:
        return self.encoding.tokens(text)


def class_names(split: Any, column: str, dataset: str) -> tuple[str, ...]:
    """Names of the classes of a column of the hub's type ClassLabel.

    Raises:
        DataError: it is of another type.
    """
    names = getattr(split.features[column], "names", None)
    if not names:
        raise DataError(f"{dataset}: column {column!r} is {split.features[column]}, and a ClassLabel is due")
    return tuple(names)
