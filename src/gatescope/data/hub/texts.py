"""Classification of texts of the hub."""

from __future__ import annotations

from array import array
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from sklearn.model_selection import train_test_split

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.remarks import check_texts
from gatescope.data.encoding.text import MaxLength, TextEncoding
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.hub.loading import class_names, load_hub, select_split


class HubTexts(SequenceData):
    """Classification of texts; without a `validation_split` one is taken from train.

    Args:
        dataset: name of the data in tables, folders and W&B.
        hub_id: id on the hub.
        subset: of the dataset, or None.
        revision: commit or branch, or None for main.
        path: of a folder that `save_to_disk` wrote, which replaces the hub; or None.
        text: column of the texts.
        label: column of the labels.
        train_split: name of the train split on the hub.
        validation_split: name of the validation split on the hub, or None.
        test_split: name of the test split on the hub; it must have labels.
        validation: share of train, stratified by label, used without a `validation_split`.
        limit: number of train texts of a stratified subset, for quick runs; None for all.
        max_tokens, min_freq, max_length, vectors, frozen: as in `TextEncoding`.
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
        max_length: MaxLength = 200,
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
        self.encoding = TextEncoding(max_tokens, min_freq, max_length, vectors=vectors, frozen=frozen)

    def build(self) -> Splits:
        """Load the texts, divide them into splits and encode them."""
        dataset, corpus, labels = load_hub(*self.source), self.encoding.corpus(), array("q")
        rows: dict[str, np.ndarray] = {}
        names: tuple[str, ...] = ()
        for part, split_name in self.split_names.items():
            if split_name is not None:
                split = select_split(dataset, split_name, self.columns, self.hub_id)
                names = names or class_names(split, self.columns[1], self.hub_id)
                start = len(corpus)
                for batch in split.iter(1000):
                    corpus.extend(batch[self.columns[0]])
                    labels.extend(batch[self.columns[1]])
                rows[part] = np.arange(start, len(corpus))
        targets = torch.tensor(labels, dtype=torch.int64)
        for part, indices in rows.items():
            if (targets[torch.from_numpy(indices)] < 0).any():
                raise DataError(
                    f"{self.hub_id}: split {self.split_names[part]!r} holds texts without a label"
                )
        notes = {"source": self.hub_id}
        splits = self.encoding.encode(corpus, self._divide(rows, targets), targets, names, notes)
        check_texts(splits.task.notes, self.encoding, self.hub_id, self.columns[0])
        return splits

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, without a limit on their number."""
        return self.encoding.fixed_tokenizer(text)

    def _divide(self, rows: dict[str, np.ndarray], targets: torch.Tensor) -> list[np.ndarray]:
        """Return the indices of the train, validation and test texts."""
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
